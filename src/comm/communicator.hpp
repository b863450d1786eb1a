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
#include <memory>
#include <mutex>
#include <thread>

#include "comm/heap.hpp"
#include "comm/host_stream.hpp"
#include "comm/setup.hpp"
#include "engine/executor.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

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
  void abort();
  // The sticky failure; ok while there is none.
  Status async_error();

  Result<void*> allocate(size_t bytes);
  Status free(void* ptr);

 private:
  class SteadyClock : public Clock {
   public:
    uint64_t now_ns() const override { return monotonic_ns(); }
  };

  Communicator(Parts parts, std::unique_ptr<ReducePool> pool);

  // Who holds the engine. Spins: it is held for a turn, or by a driver that looks out for others.
  class EngineLock {
   public:
    void lock(Communicator& owner);
    bool try_lock() { return !held_.exchange(true, std::memory_order_acquire); }
    void unlock() { held_.store(false, std::memory_order_release); }
    bool wanted() const { return wanted_.load(std::memory_order_relaxed) > 0; }

   private:
    std::atomic<bool> held_{false};
    std::atomic<int> wanted_{0};
  };

  Result<uint64_t> submit(const OpDescriptor& desc);
  // What an operation on a device's buffers and stream must be, before it is submitted.
  Status check_on_device(const OpDescriptor& desc, void* stream);
  // In the order of the device's stream: all work is handed to the device and the call returns, or,
  // where that cannot be (docs/cuda.md), it returns when the operation is complete.
  Status all_reduce_on_stream(const OpDescriptor& desc, void* stream, uint64_t* request);
  // How operation `op` ended.
  Status status_of(uint64_t op);
  // The failure that all later calls return; ok while there is none.
  Status sticky();
  // A failure that this rank found by itself goes to the other nodes.
  void tell_failure();
  // Makes progress until done() says so. With or without the lock in hand; without it afterwards.
  template <typename Done>
  void drive(Done&& done);
  // One step of waiting while holding the engine.
  void pause_driving(Waiter& waiter, uint64_t& last_look_ns);
  void look_around(uint64_t now_ns);
  void fail(const Failure& failure);
  // The others' word on a failure, with the node and with what this rank was doing.
  Failure in_context(const Failure& failure) const;
  void wake_progress_thread();
  void run_progress_thread();
  Status run_in_stream(uint64_t op);

  Parts parts_;
  SteadyClock clock_;
  UserSide* const user_side_;  // null: buffers are in host memory
  std::unique_ptr<ReducePool> pool_;
  const std::unique_ptr<Trace> trace_;  // null: nobody asked
  EngineContext context_;
  Executor executor_;
  const uint32_t flat_looks_;
  EngineLock engine_;
  // Threads that drive while they wait: the progress thread leaves the work to them. A blocking
  // operation counts itself only when that thread has been started.
  std::atomic<int> drivers_{0};
  std::atomic<bool> finalized_{false};
  std::atomic<bool> failure_told_{false};

  std::once_flag heap_once_;
  Status heap_status_;
  std::unique_ptr<Heap> heap_;

  std::mutex progress_mutex_;
  std::condition_variable progress_wanted_;
  bool progress_stop_ = false;
  bool progress_poked_ = false;
  std::atomic<bool> progress_running_{false};
  std::thread progress_thread_;
};

}  // namespace hfr
