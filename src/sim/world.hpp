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
//
// With faults (world_faults.cc) ranks also look around, as a communicator's do: at deadlines, after
// a peer was lost, and when the control plane tells them of a failure.
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
#include "sim/control.hpp"
#include "sim/event_loop.hpp"
#include "sim/faults.hpp"
#include "sim/links.hpp"
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
  std::vector<Fault> faults;
};

// How a rank's part of a run ended.
struct Ending {
  enum class How : uint8_t { kRunning, kDone, kFailed, kGone, kStopped };
  How how = How::kRunning;
  SimTime at = 0;          // from the beginning of the run
  uint64_t completed = 0;  // operations
  Failure failure;         // kFailed
  bool operator==(const Ending& other) const {
    return how == other.how && at == other.at && completed == other.completed &&
           failure.rank == other.failure.rank &&
           failure.status.code() == other.failure.status.code() &&
           failure.status.message() == other.failure.status.message();
  }
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
  // on. `descriptor(rank, operation)` says of what. Fails when ranks hold each other up for ever,
  // and says who waits for whom; that ranks fail is no failure of the run. With faults, once.
  // `progress(operations of ranks that are complete, all)` is called now and then.
  using Describe = std::function<OpDescriptor(int rank, size_t operation)>;
  using Report = std::function<void(uint64_t done, uint64_t all)>;
  Status run(size_t num_operations, const Describe& descriptor, const Report& progress = {});

  // Virtual time of the last run.
  SimTime duration() const { return loop_.now() - began_; }
  // By rank.
  std::vector<Ending> endings() const;
  uint64_t num_events() const { return loop_.num_events(); }
  uint64_t num_turns() const { return num_turns_; }

  void wake(int rank) override;
  void counter_moved(int rank, const Counter& counter) override;
  void keep_busy(int rank, SimTime duration) override;
  SimTime busy_until(int rank) const override;
  void peer_lost(int rank) override;

 private:
  struct Node;
  struct Rank;
  class FaultClock;

  explicit World(WorldSpec spec);
  Status build();
  Status build_node(int node, const Shape& shape);
  Groups make_groups(const Node& node, int local_rank) const;
  void take_turns();
  void turn(Rank& rank);
  // What the turn did that others look at.
  void observe(Rank& rank);
  Rank& rank_at(int rank) { return *ranks_[static_cast<size_t>(rank)]; }
  void end(Rank& rank, Ending::How how, const Failure& failure = {});
  Status describe_stop();

  bool has_faults() const { return !spec_.faults.empty(); }
  void start_faults();
  void begin_fault(const Fault& fault);
  void end_fault(const Fault& fault);
  void leave(Rank& rank, bool heard);
  void stretch(Rank& rank, double times);
  void go_on(Rank& rank);
  void set_pace(const Rank& rank);
  // At the next millisecond from `time` on.
  void look_from(Rank& rank, SimTime time);
  void look_around(Rank& rank);
  void fail(Rank& rank, const Failure& failure);
  void told(int rank, const Failure& failure);

  const WorldSpec spec_;
  EventLoop loop_;
  Links data_links_, control_links_;
  std::unique_ptr<Machine> machine_;
  TransportDirectory directory_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<FaultClock> fault_clock_;  // null: no faults
  std::deque<int> woken_;
  uint64_t num_turns_ = 0;

  SimTime began_ = 0;
  uint64_t first_operation_ = 0;  // of the run, by the executors' count
  uint64_t end_operation_ = 0;
  uint64_t num_done_ = 0;
  size_t num_ended_ = 0;
  const Describe* descriptor_ = nullptr;
};

}  // namespace hfr::sim
