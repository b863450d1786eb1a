// Executor: one rank's engine. It takes operations in order, chooses each one's path, and moves
// them all on by short turns, progress(), that never block, allocate, lock or call back.
//
//   submit -> queued -> posted -> running on its path -> done      (operation.hpp)
//                       start.cc   flat    flat_path.cc
//                                  direct  direct_path.cc
//                                  lanes   lane.cc, copies.cc, group_copies.cc, exchange_path.cc
//
// The turn itself is in executor.cc; who waits for whom, and for how long, in waits.cc.
//
// Operations start in order on every rank, and complete in order, so that a request is done when
// the count of completed operations has passed it.
//
// Threads: every member function belongs to whoever holds the engine (comm/ sees to that), except
// those that say otherwise.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/failure.hpp"
#include "engine/lane.hpp"
#include "engine/meters.hpp"
#include "engine/operation.hpp"
#include "engine/path_tuner.hpp"

namespace hfr {

class Executor {
 public:
  static constexpr uint64_t kMaxSubmitted = UserSide::kMaxOpen;

  explicit Executor(EngineContext& context);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Takes the operation's number; nothing when kMaxSubmitted are open: make progress and try again.
  // The descriptor is checked by the caller.
  std::optional<uint64_t> submit(const OpDescriptor& desc);

  // For a blocking caller, of host memory: submits the operation, and finishes it where it is small
  // and alone, and takes the flat path or, from a node of this rank alone, one chunk to others; and
  // what the others send comes within `num_looks` looks. Its number, as from submit(); what is not
  // done() goes on by progress(), as if nothing had been tried.
  std::optional<uint64_t> submit_and_finish(const OpDescriptor& desc, uint32_t num_looks);
  // Of an operation that was submitted undecided. `early`: its copies are handed over early.
  void decide(uint64_t op, bool early);
  // Submits all copies of `op`, just submitted, at once (UserSide::submit_early). Needs all_fed()
  // and UserSide::can_enqueue() before.
  void submit_early(uint64_t op);
  // Whether an operation of so many bytes takes the flat path, whatever its buffers. The same on
  // all ranks.
  bool takes_flat(size_t bytes) const {
    return context_.shape.num_nodes() == 1 && bytes <= context_.limits.flat_bytes;
  }
  // What `op`, just submitted, goes through.
  Bounce& bounce(uint64_t number) { return *op(number).desc.bounce; }
  // How many copies each way an operation of so many bytes takes.
  size_t num_copies(size_t bytes, Op op, bool in_graph = false) const;
  // Those of an operation in a graph, whenever it runs. Any thread.
  void list_graph_copies(const OpDescriptor& desc, GraphRequest& request) const;
  // Whether submit() takes another one.
  bool has_room() const {
    return submitted_.load(std::memory_order_relaxed) - completed_.load(std::memory_order_relaxed) <
           kMaxSubmitted;
  }
  // No copy of an earlier operation is still to be handed to the device.
  bool all_fed() const;

  // The input of `op` is there. Any thread.
  void set_ready(uint64_t op);

  // The group has pulled what this rank carried.
  bool boxes_free() const;

  // No operation waits for its stream.
  bool all_ready();

  // One turn. True when something moved.
  bool progress();
  // With no operation open: a peer may still need this side, to mend a connection.
  void attend_transport() {
    if (!failed()) poll_transport();
  }

  // Any thread. A failed executor has no operation under way.
  bool done(uint64_t op) const {
    return completed_.load(std::memory_order_acquire) > op || failed();
  }
  bool completed(uint64_t op) const { return completed_.load(std::memory_order_acquire) > op; }
  bool idle() const {
    return completed_.load(std::memory_order_acquire) ==
               submitted_.load(std::memory_order_relaxed) ||
           failed();
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // Once failed(): what, and whose fault.
  const Failure& failure() const { return failure_; }

  // The first failure counts; the others are forgotten. Afterwards no buffer of the caller is
  // touched by any rank of this node, but for one that is stopped, and by early copies (UserSide),
  // which run in the order of the caller's stream.
  void fail(const Failure& failure);

  // For waits that take long; about once a millisecond. Starts deadlines, and returns what the
  // oldest operation waits for once its deadline has passed, or once a peer that it waits for is
  // gone.
  std::optional<Stall> check(uint64_t now_ns);
  // The oldest operation that is not complete, and what it waits for.
  std::optional<Stall> oldest() const;

  // What has been done so far. Any thread reads it.
  EngineMeters& meters() { return meters_; }
  uint64_t num_submitted() const { return submitted_.load(std::memory_order_relaxed); }
  uint64_t num_completed() const { return completed_.load(std::memory_order_relaxed); }

  // For lanes: the operation that `chunk` belongs to, from operation `from` on; null when it has
  // not started. `from` moves along.
  Operation* find_chunk(uint64_t chunk, uint64_t& from);
  // Bytes of the operation's chunk changed: on the way that `way` names, from `from` (a rank) to
  // this rank.
  void fail_corrupted(const Operation& op, uint64_t chunk, const std::string& way, int from,
                      uint32_t expected, uint32_t found);

  // For lanes: the pool has finished lane `token`'s add.
  void add_finished(Token token);

 private:
  Operation& op(uint64_t number) const { return *ops_[number % kMaxSubmitted]; }

  bool input_ready(Operation& op);
  bool start_operations();
  // The CPU reaches the operation's buffers on this rank.
  bool in_host(const Operation& op) const {
    return op.desc.bounced || context_.device.host_accessible();
  }
  // It takes the lanes, and its chunks are laid out at once: the CPU does not reach its buffers. Of
  // no bytes only between nodes, where every rank's operations take the lanes.
  bool is_staged(const Operation& op) const {
    return !in_host(op) && (op.bytes > 0 || context_.shape.num_nodes() > 1);
  }
  // It was handed to the device.
  void note_copy(CopyDirection direction, const CopyDescriptor& copy);
  // Which copies went since the last look.
  void look_at_copies();
  void post(Operation& op);
  void announced(Operation& op);
  // It takes the flat path where all publish their inputs.
  bool may_publish(size_t bytes) const {
    return context_.shape.num_nodes() == 1 && bytes <= context_.limits.flat_private_bytes;
  }
  // What a post offers beside the signature; returns its flags.
  uint32_t offer(const OpDescriptor& desc, size_t bytes, Post& post);
  uint32_t offer_flat(const OpDescriptor& desc, size_t bytes, Post& post) const;
  bool finishes_flat(const OpDescriptor& desc, size_t bytes) const;
  bool finish_flat(const OpDescriptor& desc, uint64_t number, uint32_t num_looks);
  bool takes_exchange(size_t bytes) const;
  void begin_exchange(Operation& op);
  void run_exchange(Operation& op, uint32_t num_looks);
  uint32_t offer_buffers(const OpDescriptor& desc, size_t bytes, Post& post);
  bool gather_posts(Operation& op);
  bool choose_path(Operation& op);
  bool fail_mapping(const Operation& op);
  void lay_out_chunks(Operation& op);
  const std::vector<Schedule>* choose_schedules(size_t bytes, bool in_graph) const;
  bool uses_butterfly(size_t bytes, bool in_graph) const;
  // A group of GPUs adds first; and nothing leaves the group.
  bool is_grouped(size_t bytes, Op op, bool in_graph) const;
  bool stays_inside(size_t bytes, Op op, bool in_graph) const;
  Chunking plan(size_t bytes, Op op, bool in_graph) const;
  bool in_group(const Operation& op) const { return op.grouped && context_.groups.has(me_); }
  // What this rank's queue in that direction does with the operation's chunk `idx`, if anything.
  std::optional<CopyDescriptor> copy(const Operation& op, CopyDirection direction,
                                     uint64_t idx) const;
  std::optional<CopyDescriptor> group_copy(const Operation& op, CopyDirection direction,
                                           uint64_t idx) const;
  CopyDescriptor copy_in(const Operation& op, uint64_t idx) const;
  CopyDescriptor copy_out(const Operation& op, uint64_t idx) const;
  // How many of an operation's copies go together. Ranks that share a GPU keep step by that many:
  // what the copy to staging of `chunk`, the idx-th, waits for; and whether the next one goes with
  // it.
  uint64_t copies_together(const Operation& op) const;
  StepGate step_gate(const Operation& op, uint64_t idx, uint64_t chunk) const;
  bool more_in_step(const Operation& op, uint64_t idx) const;
  // Tells the transport whose put is needed next, where only one chunk is under way.
  void expect_peer();
  bool poll_transport();
  bool poll_pool();
  int lane_of(uint64_t chunk) const {
    return static_cast<int>(chunk % static_cast<uint64_t>(context_.staging.shape().window));
  }
  Lane* own_lane(int idx);
  bool move_operations();
  bool step_flat(Operation& op);
  bool leave_host(Operation& op);
  bool step_direct(Operation& op);
  void record_slice(Operation& op, record::SpanStage stage, int rank);
  bool add_block(const Operation& op, size_t offset, size_t size);
  bool fail_reaching(const Operation& op, int local_rank, const char* what);
  // Directions in which this rank never copies are over at once.
  void begin_feeding(Operation& op) const;
  bool feed_copies(Operation& op);
  bool feed_graph(Operation& op);
  bool open_gate_in(Operation& op);
  bool open_gate_out(Operation& op);
  bool lanes_finished(const Operation& op) const;
  bool complete_operations();
  Wait what_waits(const Operation& op) const;
  void record_wait(const Operation& op, uint64_t now_ns);
  void leave_buffers();
  void fail_device(const Status& status);
  // A copy out of staging.
  void fail_corrupted_copy(const Device::CorruptedCopy& corrupted);

  EngineContext& context_;
  const int me_;  // local rank
  const int num_local_;
  std::vector<std::unique_ptr<Operation>> ops_;
  std::atomic<uint64_t> submitted_{0};  // written by the engine's holder only
  // Operations [0, posted_) have been announced, where there is anybody on the node to tell.
  uint64_t posted_ = 0;
  uint64_t running_ = 0;  // [0, running_) have been put on their paths
  std::atomic<uint64_t> completed_{0};
  uint64_t next_chunk_ = 0;
  uint64_t open_lane_ops_ = 0;
  std::vector<Lane> lanes_;  // this rank's own
  // By lane: the landed counters of EngineContext::gpu_sharers; empty where nobody keeps step.
  std::vector<std::vector<const Counter*>> sharers_landed_;
  std::vector<const Counter*> added_;    // by lane; empty: copies do not keep step with the adds
  std::vector<uint64_t> lost_since_ns_;  // per rank; 0: there
  bool any_lost_ = false;
  Arrivals arrivals_;
  std::array<TransportEvent, 32> events_;  // poll_transport's
  PathTuner tuner_;
  EngineMeters meters_;

  std::atomic<bool> failed_{false};
  Failure failure_;
};

}  // namespace hfr
