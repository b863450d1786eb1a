// SimPool: a rank's reduce pool, in virtual time. What is submitted begins after the overhead of a
// hand-over and shares the node's adding rate; in host memory it shares the rank's own thread.
#pragma once

#include <array>
#include <vector>

#include "ports/reduce_pool.hpp"
#include "sim/event_loop.hpp"
#include "sim/machine.hpp"
#include "sim/spans.hpp"
#include "sim/staging_map.hpp"
#include "sim/wakes.hpp"

namespace hfr::sim {

class SimPool : public ReducePool, public Actor {
 public:
  struct Parts {
    EventLoop& loop;
    const Machine& machine;
    Wakes& wakes;
    const StagingMap& staging;
    ReducePool* adds;  // really adds; null: nobody does
    SpanLog* log;
  };
  SimPool(const Parts& parts, const Place& place) : parts_(parts), place_(place) {}

  void run(const ReduceDescriptor& work) override;
  bool submit(const ReduceDescriptor& work, Token token) override;
  size_t poll(std::span<Token> done) override;
  // Its process is gone: what is under way never ends.
  void cancel() { cancelled_ = true; }

  void on_event(uint64_t what) override;

 private:
  static constexpr size_t kCapacity = 64;
  struct Sum {
    ReduceDescriptor work;
    Token token = 0;
    bool used = false;
    SimTime began = 0;
  };

  const Parts parts_;
  const Place place_;
  std::vector<Sum> sums_;
  std::vector<Token> done_;
  bool cancelled_ = false;
};

}  // namespace hfr::sim
