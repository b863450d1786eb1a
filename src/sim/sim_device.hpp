// SimDevice: a rank's copy queues, in virtual time. Each runs in order: when the first copy's
// counters let it go there is the overhead of a copy, then its bytes flow, then its counter is
// advanced. Ranks that share a GPU hand their copies over together (sim_copy_team.hpp).
#pragma once

#include <array>
#include <deque>

#include "engine/group.hpp"
#include "ports/device.hpp"
#include "ports/reduce_pool.hpp"
#include "sim/event_loop.hpp"
#include "sim/machine.hpp"
#include "sim/sim_copy_team.hpp"
#include "sim/spans.hpp"
#include "sim/staging_map.hpp"
#include "sim/wakes.hpp"

namespace hfr::sim {

class SimDevice : public Device, public Actor {
 public:
  struct Parts {
    EventLoop& loop;
    const Machine& machine;
    Wakes& wakes;
    const StagingMap& staging;
    int num_local;
    size_t slot_bytes;
    ReducePool* adds;  // adds for groups, and says that bytes are really moved; null: they are not
    SpanLog* log;      // null: nobody asked
  };
  SimDevice(const Parts& parts, const Place& place) : parts_(parts), place_(place) {}
  // Before the first copy; outlives the device.
  void set_groups(const Groups& groups) { groups_ = &groups; }
  void set_team(CopyDirection direction, SimCopyTeam& team) {
    queues_[static_cast<size_t>(direction)].team = &team;
    team.join(*this);
  }

  bool host_accessible() const override { return parts_.machine.on_host(); }
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override;
  bool poll() override { return false; }  // what moves on says so by itself
  void cancel() override;

  // Some counter of the node moved: first copies may go.
  void look();

  void on_event(uint64_t what) override;

  // For teams: the next copy that may go and that nobody took; null: none.
  const CopyDescriptor* next_offer(CopyDirection direction) const;
  void take_offer(CopyDirection direction);
  Path path(CopyDirection direction, const CopyDescriptor& copy) const;
  // The first copy's bytes have moved.
  void finish(CopyDirection direction);

 private:
  static constexpr size_t kCapacity = 128;
  struct Queue {
    std::deque<CopyDescriptor> copies;
    SimCopyTeam* team = nullptr;
    size_t under_way = 0;  // from the first one on; more than one only with a team
    SimTime began = 0;
  };

  void look(CopyDirection direction);
  void move_bytes(CopyDirection direction, const CopyDescriptor& copy) const;

  const Parts parts_;
  const Place place_;
  const Groups* groups_ = nullptr;
  std::array<Queue, kNumDirections> queues_;
  bool refused_ = false;
  bool cancelled_ = false;
};

}  // namespace hfr::sim
