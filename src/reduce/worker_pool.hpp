// WorkerPool: adds on its own threads while the submitting thread drives copies and puts.
//
// One thread submits and polls. A descriptor goes into a ring and is cut into at most one piece a
// worker: contiguous ranges that meet on 4 KiB steps of the destination, so that no two threads
// write one cache line. Workers take the oldest descriptor's pieces first, each the piece of its
// own number while that is free: with memory placed by ranges, a worker meets the same memory each
// time. A worker that is late loses its piece to one that is not. No element's order of adding
// depends on any of this: the bits are those of InlinePool.
//
//   ring of tasks    | #4: 1011 | #5: 1111 | #6: 0001 |      bit w: piece w is not taken yet
//                         ^ worker 1 took its piece      #6 is too small to be cut
//
// Waiting: an idle worker spins, then yields, then sleeps on a futex (Options::wait). submit()
// makes a system call only when somebody sleeps, and wakes no more workers than there are pieces.
// Waking takes up to 40 us, so sleep only long after the last work; `spin_ns` 0 is for pools that
// together have more threads than there are cores.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/counter.hpp"
#include "base/status.hpp"
#include "base/waiter.hpp"
#include "cpu/reduce.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

class WorkerPool : public ReducePool {
 public:
  static constexpr size_t kCapacity = 64;  // descriptors under way
  static constexpr int kMaxWorkers = 32;
  // Below this much memory traffic a further worker costs more than it saves.
  static constexpr size_t kMinPieceTraffic = size_t{64} << 10;
  static constexpr size_t kPieceStep = 4096;

  struct Options {
    // CPUs of each worker, whose number is the size, 1 to kMaxWorkers; an empty list: not bound.
    // topo/worker_cpus.hpp chooses.
    std::vector<std::vector<int>> cpus = {{}};
    WaitPolicy wait = {.spin_ns = 50'000, .sleep_after_ns = 2'000'000};
  };

  // Starts the threads. Fails when the system grants no more.
  static Result<std::unique_ptr<WorkerPool>> create(const KernelTable& kernels,
                                                    const Options& options);
  // Waits for pieces that a worker has begun; the others are dropped and never reported.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void run(const ReduceDescriptor& work) override;
  bool submit(const ReduceDescriptor& work, Token token) override;
  size_t poll(std::span<Token> done) override;

  size_t num_workers() const { return workers_.size(); }

 private:
  WorkerPool(const KernelTable& kernels, const WaitPolicy& wait) : kernels_(kernels), wait_(wait) {}

  struct alignas(kCacheLine) Task {
    // Low 32 bits of the task's number, above the bits of the pieces that nobody took yet.
    std::atomic<uint64_t> claims{0};
    std::atomic<uint32_t> unfinished{0};  // pieces
    uint32_t num_pieces = 0;
    ReduceDescriptor work;
    // The submitting thread's own:
    Token token = 0;
    bool reported = true;
  };

  void work(unsigned worker);
  // Waits until there is a task after the first `seen` ones; false when the pool ends instead.
  bool wait_for_task(uint64_t seen);
  void sleep(uint64_t seen);
  void wake(uint32_t num_pieces);
  // A piece of the task for this worker, or -1: all are taken.
  static int claim(Task& task, uint64_t number, unsigned worker);
  void run_part(const Task& task, int piece) const;

  const KernelTable& kernels_;
  const WaitPolicy wait_;
  std::array<Task, kCapacity> tasks_;  // number n is in place n mod kCapacity
  Counter submitted_;
  alignas(kCacheLine) std::atomic<uint64_t> finished_{0};
  alignas(kCacheLine) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> wake_ups_{0};  // the futex
  std::atomic<bool> ending_{false};
  // The submitting thread's own: tasks before oldest_ are reported, num_reported_ in all.
  alignas(kCacheLine) uint64_t oldest_ = 0;
  uint64_t num_reported_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace hfr
