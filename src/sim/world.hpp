// World: the shipped engine of every rank of a cluster, run by one thread in virtual time.
//
//   EventLoop ---- events ----> SimDevice, SimPool, SimTransport of a rank
//       ^                                 |  wake(rank), counter_moved(rank, counter)
//       |  copies, sums, puts             v
//       +-------------------------- Executor::progress() of that rank
//
// After an instant's events the ranks that they woke take turns, in the order of waking. A turn's
// own doing wakes others only where it changed something that they look at: posts, and the counters
// that say that a lane's slots are free or its result is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/executor.hpp"
#include "sim/cluster.hpp"
#include "sim/event_loop.hpp"
#include "sim/machine.hpp"
#include "sim/reserved_memory.hpp"
#include "sim/sim_device.hpp"
#include "sim/sim_pool.hpp"
#include "sim/sim_transport.hpp"
#include "sim/wakes.hpp"

namespace hfr::sim {

struct WorldSpec {
  ClusterSpec cluster;
  int num_nodes = 1;
  std::vector<int> hosts;  // where in the fabric each node is; empty: in order
  // As a communicator of these ranks would have them (comm/sizing.hpp).
  StagingShape staging;
  EngineLimits limits;
  std::vector<NodeSchedules> schedules;  // by node
  bool use_groups = false;               // of the cluster's GPUs
  // Really adds, and makes all payloads move; null: bytes are only counted.
  ReducePool* adds = nullptr;
  SpanLog* log = nullptr;
};

// The shape of `num_nodes` nodes with the cluster's ranks on each, as rank 0 sees it.
Shape make_world_shape(const ClusterSpec& cluster, int num_nodes);

class World : public Wakes {
 public:
  static Result<std::unique_ptr<World>> create(WorldSpec spec);
  ~World() override;

  int num_ranks() const { return static_cast<int>(ranks_.size()); }
  const Machine& machine() const { return *machine_; }
  const FlowNetwork& flows() const { return loop_.flows(); }

  // All ranks all-reduce `num_operations` messages, one after the other without waiting, from now
  // on. `descriptor(rank, operation)` says of what. Fails when the ranks hold each other up, and
  // says who waits for whom. `progress(operations of ranks that are complete, all)` is called now
  // and then.
  using Describe = std::function<OpDescriptor(int rank, size_t operation)>;
  using Report = std::function<void(uint64_t done, uint64_t all)>;
  Status run(size_t num_operations, const Describe& descriptor, const Report& progress = {});

  // Virtual time of the last run.
  SimTime duration() const { return loop_.now() - began_; }
  uint64_t num_events() const { return loop_.num_events(); }
  uint64_t num_turns() const { return num_turns_; }

  void wake(int rank) override;
  void counter_moved(int rank, const Counter& counter) override;
  void keep_busy(int rank, SimTime duration) override;
  SimTime busy_until(int rank) const override;

 private:
  struct Node;
  struct Rank;

  explicit World(WorldSpec spec);
  Status build();
  Status build_node(int node, const Shape& shape);
  Groups make_groups(const Node& node, int local_rank) const;
  void take_turns();
  void turn(Rank& rank);
  // What the turn did that others look at.
  void observe(Rank& rank);
  Rank& rank_at(int rank) { return *ranks_[static_cast<size_t>(rank)]; }
  Status describe_stall();

  const WorldSpec spec_;
  EventLoop loop_;
  std::unique_ptr<Machine> machine_;
  TransportDirectory directory_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::deque<int> woken_;
  uint64_t num_turns_ = 0;

  SimTime began_ = 0;
  uint64_t first_operation_ = 0;  // of the run, by the executors' count
  uint64_t end_operation_ = 0;
  uint64_t num_done_ = 0;
  const Describe* descriptor_ = nullptr;
};

}  // namespace hfr::sim
