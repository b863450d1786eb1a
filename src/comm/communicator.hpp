// Communicator: one rank's membership of a set of ranks. Wires the concrete parts together and
// decides which thread makes progress.
//
// Progress: a thread that waits drives the engine itself, so that a small blocking operation pays
// for no hand-over. What runs asynchronously while nobody waits is driven by a progress thread,
// started with the first such operation. One lock says who holds the engine; a driver lets go of it
// between turns when somebody else wants it.
//
// Threads: all functions may be called from any thread, except the destructor.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "base/cancel.hpp"
#include "bootstrap/unique_id.hpp"
#include "comm/comm_metrics.hpp"
#include "comm/graph_ops.hpp"
#include "comm/heap.hpp"
#include "comm/heritage.hpp"
#include "comm/host_stream.hpp"
#include "comm/setup.hpp"
#include "device/cuda/gpu_memory.hpp"
#include "engine/cpu_sharing.hpp"
#include "engine/executor.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

class GrowthFlag;  // growth.cc

class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  static Result<std::shared_ptr<Communicator>> create(JoinSpec spec);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  const Shape& shape() const { return parts_.shape; }

  // The descriptor has been checked (capi/), but for what only the device knows. `stream` is the
  // device's own kind. stream and request both null: returns when complete.
  Status all_reduce(const OpDescriptor& desc, void* stream, uint64_t* request);
  Status wait(uint64_t request);
  // Sets `done`; the status is the operation's once it is done.
  Status test(uint64_t request, bool* done);

  // Completes what was started, then meets all ranks.
  Status finalize();
  // Completes what was started, or fails it at its deadline; afterwards nothing of this rank runs.
  void shut_down();
  // Whether it may be shut down: no graph of the caller's has operations of it. Waits a little for
  // graphs that were just destroyed. `call` is for the sentence.
  Status check_unused(const char* call);
  void abort();

  // comm/children.cc, growth.cc; docs/recovery.md, docs/suspend.md. `cancel`, set from another
  // thread, ends them. One at a time. Collective. Null for a rank without a colour (below 0).
  Result<std::shared_ptr<Communicator>> split(int color, int key, const CancelFlag& cancel);
  // `excluded`: ranks of this communicator. `timeout_ns` 0: its own deadline.
  Result<std::shared_ptr<Communicator>> shrink(const std::vector<int>& excluded,
                                               uint64_t timeout_ns, const CancelFlag& cancel);
  // For ranks that are to join: one member makes it before all grow. The one before is void.
  Result<UniqueId> make_growth_id();
  // Collective. This one's ranks, and after them the new ones, who join with the id.
  Result<std::shared_ptr<Communicator>> grow(int num_ranks, const CancelFlag& cancel);
  // Collective: completes what was started, and all agree that nothing holds a rank back. Then each
  // destroys its communicator and keeps the heritage.
  Status prepare_suspend();
  Heritage heritage();

  // The sticky failure; ok while there is none.
  Status async_error();
  // What it failed with, as far as this rank has noticed; ok when it has not. Any thread.
  Status failure() const { return executor_.failed() ? executor_.failure().status : Status(); }

  // Copies the rank's record to the file at `path`; %r stands for the rank.
  Status dump(const std::string& path) const;
  // Any thread; waits for nobody.
  CommMetrics metrics();

  Result<void*> allocate(size_t bytes);
  Status free(void* ptr);

 private:
  class SteadyClock : public Clock {
   public:
    uint64_t now_ns() const override { return monotonic_ns(); }
  };

  Communicator(Parts parts, std::unique_ptr<ReducePool> pool);

  // Who holds the engine. Spins: it is held for a turn, some looks, or by a driver that looks out
  // for others.
  class EngineLock {
   public:
    void lock(Communicator& owner) {
      if (!try_lock()) wait(owner);
    }
    bool try_lock() { return !held_.exchange(true, std::memory_order_acquire); }
    void unlock() { held_.store(false, std::memory_order_release); }
    bool wanted() const { return wanted_.load(std::memory_order_relaxed) > 0; }

   private:
    void wait(Communicator& owner);  // until it has the lock

    std::atomic<bool> held_{false};
    std::atomic<int> wanted_{0};
  };

  // comm/user_memory.cc.
  Result<void*> take_memory(size_t bytes);
  Status give_memory_back(void* ptr);
  bool sends_from_heap() const;
  // Neither failed nor finalized.
  bool takes_operations() const {
    return !executor_.failed() && !finalized_.load(std::memory_order_relaxed);
  }
  Result<uint64_t> submit(const OpDescriptor& desc);
  // How often to look for what others post or send before a wait begins. Holding the engine.
  uint32_t looks() {
    if (calls_that_yield_ == 0) return looks_;
    --calls_that_yield_;
    return 0;
  }
  // On host memory, and the caller waits for it.
  Status all_reduce_now(const OpDescriptor& desc);
  // What an operation on host memory must be, before it is submitted; else why it is not.
  bool is_in_host(const OpDescriptor& desc, void* stream);
  Status not_in_host(const OpDescriptor& desc);
  // How operation `op` ended.
  Status status_of(uint64_t op);
  // Completes what was started; ok when nothing has failed.
  Status complete_all();
  // Runs `meet`, which meets all ranks; a peer whose last operation is still open may need this
  // side's transport meanwhile. Its failure becomes the communicator's.
  Status meet_all(const std::function<Status()>& meet);
  // What inspect shows while all ranks meet; WaitStage::kNothing: no longer.
  void record_meeting(WaitStage stage);
  // Makes all operations fail, on all ranks that can be told, and waits until the buffers are the
  // caller's again.
  void revoke(const std::string& call);
  // The secret of an id that `rank` made; it made `count` of them.
  Secret growth_secret(int rank, int count) const;
  // The child, when all have it: as the witness says, who brought `members` together.
  Result<std::shared_ptr<Communicator>> grow_before_witness(JoinSpec spec, Membership& members,
                                                            GrowthFlag& flag);
  // Fails every operation on all ranks, now.
  void give_up(const Failure& failure);
  // Why this rank cannot be suspended now; empty: it can.
  std::string holds_back();
  // Own graphs that were launched have run. Waits for them until a deadline.
  bool graphs_have_run();
  void write_trace();
  // The failure that all later calls return; ok while there is none.
  Status sticky();
  // A failure that this rank found by itself goes to the other nodes.
  void tell_failure();
  void fail(const Failure& failure);
  // The others' word on a failure, with the node and with what this rank was doing.
  Failure in_context(const Failure& failure) const;
  // Holding the engine: one turn.
  bool turn();
  // Nothing to drive and nothing to look out for.
  bool at_rest() const { return executor_.idle() && (graph_ops_ == nullptr || !graph_ops_->any()); }
  Status run_in_stream(uint64_t op);

  // comm/driving.cc. Makes progress until done() says so. With or without the lock in hand; without
  // it afterwards.
  template <typename Done>
  void drive(Done&& done);
  // One step of waiting while holding the engine.
  void pause_driving(Waiter& waiter, uint64_t& last_look_ns);
  void look_around(uint64_t now_ns);
  void wake_progress_thread();
  void run_progress_thread();
  // Looks for more work for a while, before the progress thread sleeps.
  void linger();

  // comm/gpu_calls.cc. Of a rank on a GPU, in host order or in a stream.
  Status all_reduce_on_gpu(const OpDescriptor& desc, void* stream, uint64_t* request);
  Status check_on_gpu(const OpDescriptor& desc, void* stream);
  // In chunks, and small messages through pinned memory: in a stream all work is handed to the
  // device and the call returns, or, where that cannot be (docs/cuda.md), it returns when the
  // operation is complete.
  Status all_reduce_in_stream(const OpDescriptor& desc, void* stream, uint64_t* request);
  Status all_reduce_bounced(const OpDescriptor& desc, void* stream, uint64_t* request);
  // In a stream that is captured, or that may come after a graph.
  Status all_reduce_in_graph(const OpDescriptor& desc, void* stream, bool capturing);
  // Tells the mates that this rank has called.
  void arrive(uint64_t op, bool in_stream);
  // Waits until all mates have. True: its copies are handed over early; false: nobody's are.
  bool decide_with_mates(uint64_t op);
  // Its early copies, and all mates' together.
  Status hand_over(size_t chunks);
  // Holding the engine, before copies are handed over that wait in a stream: what was started in
  // host order goes to the device first, and room is made for so many more copies.
  void hand_over_late_copies(size_t copies);
  // The device refused something: so says `status`, which is returned.
  Status fail_device(const Status& status);
  // Without the engine: until there is something to drive.
  void watch_graphs();
  // At the end, holding the engine.
  void close_graphs();

  Parts parts_;
  SteadyClock clock_;
  UserSide* const user_side_;  // null: buffers are in host memory
  GpuMemory gpu_memory_;
  std::unique_ptr<ReducePool> pool_;
  const std::unique_ptr<Trace> trace_;        // null: nobody asked
  const std::unique_ptr<Recorder> recorder_;  // null: nothing is recorded
  const std::unique_ptr<Ranges> ranges_;      // null: no profiler is attached
  EngineContext context_;
  Executor executor_;
  const CpuSharing cpu_sharing_;
  std::unique_ptr<GraphOps> graph_ops_;  // null where there are no graphs
  // Something was captured: from then on calls with a stream may come after a graph.
  std::atomic<bool> captured_{false};
  const uint32_t looks_;
  uint32_t calls_that_yield_ = 0;  // so many more, as another rank was found on this CPU
  EngineLock engine_;
  // Threads that drive while they wait: the progress thread leaves the work to them. A blocking
  // operation counts itself only when that thread has been started.
  std::atomic<int> drivers_{0};
  std::atomic<bool> finalized_{false};
  std::atomic<bool> failure_told_{false};

  // By rank, what each is called in its line (bootstrap/line.hpp).
  const std::vector<int> first_ranks_;
  std::mutex children_mutex_;  // one split, shrink, grow or suspend at a time
  int num_splits_ = 0;
  int num_grown_ = 0;
  int num_growth_ids_ = 0;
  std::optional<OpenRendezvous> growth_;  // for the id that was made last, until all grow
  bool shrunk_ = false;

  std::unique_ptr<MetricsEntry> metrics_entry_;  // null: no endpoint

  std::once_flag heap_once_;
  Status heap_status_;
  std::unique_ptr<Heap> heap_;
  std::atomic<int> num_allocated_{0};  // what the user has from allocate()
  std::atomic<bool> told_of_copies_{false};

  std::mutex progress_mutex_;
  std::condition_variable progress_wanted_;
  std::atomic<bool> progress_stop_{false};
  std::atomic<bool> progress_poked_{false};
  std::atomic<bool> progress_running_{false};
  std::thread progress_thread_;
};

template <typename Done>
void Communicator::drive(Done&& done) {
  Waiter waiter(parts_.wait);
  uint64_t last_look_ns = 0;
  while (!done()) {
    if (turn()) {
      waiter.reset();
      continue;
    }
    if (done()) return;
    pause_driving(waiter, last_look_ns);
    if (engine_.wanted()) {
      engine_.unlock();
      sched_yield();
      engine_.lock(*this);
    }
  }
}

}  // namespace hfr
