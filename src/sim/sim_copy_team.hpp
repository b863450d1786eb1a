// SimCopyTeam: one direction's copies of all ranks that share a GPU, in virtual time. As the
// shipped one (device/cuda/copy_team.hpp) it hands over batches: up to so many bytes, the lowest
// chunks of all ranks first, one batch ahead of the one under way. A batch takes the overhead once,
// then its copies' bytes flow one after the other, then all their counters are advanced.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "ports/device.hpp"
#include "sim/event_loop.hpp"
#include "sim/machine.hpp"

namespace hfr::sim {

class SimDevice;

class SimCopyTeam : public Actor {
 public:
  SimCopyTeam(EventLoop& loop, const NodeSpec& node, CopyDirection direction)
      : loop_(loop), node_(node), direction_(direction) {}

  void join(SimDevice& member) { members_.push_back(&member); }
  // Some copies may go now.
  void look();

  void on_event(uint64_t what) override;

 private:
  struct Copy {
    SimDevice* member;
    Path path;
    size_t bytes;
  };
  using Batch = std::vector<Copy>;

  Batch gather();
  void begin();
  void flow();

  EventLoop& loop_;
  const NodeSpec& node_;
  const CopyDirection direction_;
  std::vector<SimDevice*> members_;
  std::deque<Batch> batches_;  // the first one is under way
  size_t flowing_ = 0;         // which of its copies
};

}  // namespace hfr::sim
