// WorkerPool: adds on its own threads while the submitting thread drives copies and puts.
//
// One thread submits and polls. What it submits goes onto a board (task_board.hpp), where the pools
// of all ranks of the node may meet: then any of their threads adds any rank's chunk, and a chunk
// is done in the time that all of them need for it. Threads take the oldest task's pieces first.
// The bits are those of InlinePool.
//
// Waiting: an idle thread spins, then yields, then sleeps (Options::wait). submit() makes a system
// call only when somebody sleeps, and wakes no more threads than there are pieces. Waking takes up
// to 40 us, so sleep only long after the last work; `spin_ns` 0 is for pools that together have
// more threads than there are cores.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/status.hpp"
#include "base/waiter.hpp"
#include "cpu/reduce.hpp"
#include "ports/reduce_pool.hpp"
#include "reduce/task_board.hpp"

namespace hfr {

class WorkerPool : public ReducePool {
 public:
  static constexpr size_t kCapacity = TaskBoard::kCapacity;  // descriptors under way
  static constexpr int kMaxWorkers = 32;

  struct Options {
    // CPUs of each worker, whose number is the size, 1 to kMaxWorkers; an empty list: not bound.
    // topo/worker_cpus.hpp chooses.
    std::vector<std::vector<int>> cpus = {{}};
    WaitPolicy wait = {.spin_ns = 50'000, .sleep_after_ns = 2'000'000};
    // A board in memory that other pools see too, and where this process sees that memory: all
    // addresses of all descriptors lie in it. Both outlive the pool. Null: a board of its own.
    TaskBoard* board = nullptr;
    std::byte* base = nullptr;
    int rank = 0;  // which of the board's ranks this is
  };

  // Starts the threads. Fails when the system grants no more.
  static Result<std::unique_ptr<WorkerPool>> create(const KernelTable& kernels,
                                                    const Options& options);
  // Waits for pieces that a worker has begun; others that only this pool's threads would take are
  // dropped and never reported.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void run(const ReduceDescriptor& work) override;
  bool submit(const ReduceDescriptor& work, Token token) override;
  size_t poll(std::span<Token> done) override;
  int holder(Token token) const override;

  size_t num_workers() const { return workers_.size(); }

 private:
  WorkerPool(const KernelTable& kernels, const Options& options);

  void work(uint32_t worker);

  const KernelTable& kernels_;
  const WaitPolicy wait_;
  std::unique_ptr<TaskBoard> own_board_;
  TaskBoard& board_;
  std::byte* const base_;
  const int rank_;
  std::vector<std::thread> workers_;
  std::atomic<bool> ending_{false};
  // The submitting thread's own: what it has not been told of.
  struct Open {
    uint64_t number;
    Token token;
  };
  std::array<Open, kCapacity> open_;
  size_t num_open_ = 0;
};

}  // namespace hfr
