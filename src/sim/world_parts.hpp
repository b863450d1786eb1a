// What a simulated world is made of, for its own files.
#pragma once

#include "sim/world.hpp"

namespace hfr::sim {

struct World::Rank : public Actor {
  Rank(World& owner, Node& its_node) : world(owner), node(its_node) {}
  enum What : uint64_t { kFree, kLook };
  void on_event(uint64_t what) override {
    if (what == kLook) return world.look_around(*this);
    if (gone || num_stops > 0 || busy_until > world.loop_.now()) return;
    world.observe(*this);
    world.wake(place.rank);
  }
  bool can_turn() const { return !gone && num_stops == 0 && !asking; }
  // Of its oldest operation.
  SimTime deadline() const {
    const uint64_t oldest = completed - world.first_operation_;
    if (oldest >= submit_times.size()) return kNever;
    return submit_times[oldest] + world.spec_.limits.timeout_ns * kPsPerNs;
  }

  World& world;
  Node& node;
  Place place;
  std::unique_ptr<SimDevice> device;
  std::unique_ptr<SimPool> pool;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<EngineContext> context;
  std::unique_ptr<Executor> executor;
  std::vector<int> lanes;      // its own
  std::vector<uint64_t> seen;  // added and published of each
  SimTime busy_until = 0;
  uint64_t submitted = 0;
  uint64_t posted = 0;
  uint64_t completed = 0;
  bool woken = false;

  Ending ending;
  // With faults only.
  std::vector<SimTime> submit_times;
  SimTime next_look = kNever;
  bool lost_peer = false;
  bool asking = false;             // it has reported `stall` and waits for the verdict
  bool reported = false;           // as a failure, for a lost peer; else as a stall
  std::optional<Failure> verdict;  // what the control plane told
  std::optional<Failure> stall;    // what it says itself, if the control plane is silent
  bool gone = false;
  int num_stops = 0;
  SimTime left_busy = 0;  // of its own thread's sum, while it stands still
  double link_rate = 0;   // of its GPU's link or its thread, when nothing is amiss
  double slowness = 1;
};

struct World::Node {
  Node(const StagingShape& shape, ReservedMemory reserved)
      : memory(std::move(reserved)), staging(shape, memory.data()), map(staging) {}
  ReservedMemory memory;
  Staging staging;
  StagingMap map;
  std::vector<ReservedMemory> boxes;  // by local rank, where there are groups
  std::vector<Rank*> ranks;
  std::vector<std::unique_ptr<SimCopyTeam>> teams;  // where ranks share GPUs: each one's two ways
};

// Events: twice the fault's number, and one more for its end.
class World::FaultClock : public Actor {
 public:
  explicit FaultClock(World& world) : world_(world) {}
  void on_event(uint64_t what) override;

 private:
  World& world_;
};

}  // namespace hfr::sim
