#include "reduce/worker_pool.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <system_error>

#include "base/text.hpp"
#include "reduce/piece.hpp"
#include "topo/worker_cpus.hpp"

namespace hfr {
namespace {

constexpr int kNumberShift = 32;

// Both return at once when there is nothing to do; a spurious return is harmless.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word, int num_threads) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, num_threads, nullptr, nullptr, 0);
}

uint32_t count_pieces(const ReduceDescriptor& work, size_t num_workers) {
  const size_t bytes = work.count * dtype_size(work.dtype);
  const auto num_streams = static_cast<size_t>(work.num_srcs + work.num_dsts);
  const size_t worth = bytes * num_streams / WorkerPool::kMinPieceTraffic;
  const size_t steps = bytes / WorkerPool::kPieceStep;
  return static_cast<uint32_t>(std::clamp<size_t>(std::min(worth, steps), 1, num_workers));
}

}  // namespace

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(const KernelTable& kernels,
                                                       const Options& options) {
  const size_t num_workers = options.cpus.size();
  if (num_workers < 1 || num_workers > static_cast<size_t>(kMaxWorkers)) {
    return Status(Code::kInvalidArgument,
                  cat("a reduce pool of ", num_workers, " threads: it must be 1 to ", kMaxWorkers));
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(kernels, options.wait));
  std::vector<pthread_t> threads;
  for (unsigned w = 0; w < num_workers; ++w) {
    try {
      pool->workers_.emplace_back([raw = pool.get(), w] { raw->work(w); });
    } catch (const std::system_error& error) {
      return system_error(cat("starting thread ", w + 1, " of ", num_workers, " of a reduce pool"),
                          error.code().value());
    }
    threads.push_back(pool->workers_.back().native_handle());
  }
  bind_threads(threads, options.cpus);
  return pool;
}

WorkerPool::~WorkerPool() {
  ending_.store(true);
  wake_ups_.fetch_add(1);
  futex_wake(wake_ups_, INT_MAX);
  for (std::thread& worker : workers_) worker.join();
}

void WorkerPool::run(const ReduceDescriptor& work) { run_piece(kernels_, work, 0, work.count); }

bool WorkerPool::submit(const ReduceDescriptor& work, Token token) {
  const uint64_t number = submitted_.value.load(std::memory_order_relaxed);
  if (number - oldest_ == kCapacity) return false;
  Task& task = tasks_[number % kCapacity];
  // Nobody reads the task before the store to `claims`: its pieces of 64 tasks ago are finished.
  task.work = work;
  task.token = token;
  task.reported = false;
  task.num_pieces = count_pieces(work, workers_.size());
  task.unfinished.store(task.num_pieces, std::memory_order_relaxed);
  const uint64_t pieces = (uint64_t{1} << task.num_pieces) - 1;
  task.claims.store(number << kNumberShift | pieces, std::memory_order_release);
  // Sequentially consistent, as is a worker's announcement that it sleeps: one sees the other.
  submitted_.value.store(number + 1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) wake(task.num_pieces);
  return true;
}

size_t WorkerPool::poll(std::span<Token> done) {
  size_t num_done = 0;
  const uint64_t finished = finished_.load(std::memory_order_acquire);
  for (uint64_t n = oldest_; num_reported_ < finished && num_done < done.size(); ++n) {
    Task& task = tasks_[n % kCapacity];
    if (task.reported || task.unfinished.load(std::memory_order_acquire) != 0) continue;
    task.reported = true;
    done[num_done++] = task.token;
    ++num_reported_;
  }
  const uint64_t submitted = submitted_.value.load(std::memory_order_relaxed);
  while (oldest_ < submitted && tasks_[oldest_ % kCapacity].reported) ++oldest_;
  return num_done;
}

void WorkerPool::work(unsigned worker) {
  uint64_t number = 0;
  while (wait_for_task(number)) {
    const uint64_t submitted = submitted_.load();
    // Whoever slept long finds what is still in the ring.
    if (submitted - number > kCapacity) number = submitted - kCapacity;
    Task& task = tasks_[number % kCapacity];
    const int piece = claim(task, number, worker);
    if (piece < 0) {
      ++number;
      continue;
    }
    run_part(task, piece);
    if (task.unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      finished_.fetch_add(1, std::memory_order_release);
    }
  }
}

int WorkerPool::claim(Task& task, uint64_t number, unsigned worker) {
  uint64_t claims = task.claims.load(std::memory_order_acquire);
  while (true) {
    const auto free = static_cast<uint32_t>(claims);
    if (claims >> kNumberShift != static_cast<uint32_t>(number) || free == 0) return -1;
    const int piece = (free >> worker & 1) != 0 ? static_cast<int>(worker) : std::countr_zero(free);
    const uint64_t rest = claims & ~(uint64_t{1} << piece);
    if (task.claims.compare_exchange_weak(claims, rest, std::memory_order_acquire)) return piece;
  }
}

void WorkerPool::run_part(const Task& task, int piece) const {
  const ReduceDescriptor& work = task.work;
  const size_t element = dtype_size(work.dtype);
  // Steps count from where the first destination meets a cache line.
  const size_t head =
      (kCacheLine - reinterpret_cast<uintptr_t>(work.dsts[0]) % kCacheLine) % kCacheLine / element;
  const size_t step = kPieceStep / element;
  const size_t num_steps = work.count / step;
  auto boundary = [&](size_t p) {
    if (p == 0) return size_t{0};
    if (p == task.num_pieces) return work.count;
    return std::min(work.count, head + p * num_steps / task.num_pieces * step);
  };
  const auto p = static_cast<size_t>(piece);
  run_piece(kernels_, work, boundary(p), boundary(p + 1) - boundary(p));
}

bool WorkerPool::wait_for_task(uint64_t seen) {
  Waiter waiter(wait_);
  while (true) {
    if (ending_.load(std::memory_order_relaxed)) return false;
    if (submitted_.load() != seen) return true;
    waiter.pause([&](uint64_t) { sleep(seen); });
  }
}

void WorkerPool::sleep(uint64_t seen) {
  const uint32_t wake_ups = wake_ups_.load();
  sleepers_.fetch_add(1);
  if (submitted_.value.load() == seen && !ending_.load()) futex_wait(wake_ups_, wake_ups);
  sleepers_.fetch_sub(1);
}

void WorkerPool::wake(uint32_t num_pieces) {
  wake_ups_.fetch_add(1);
  futex_wake(wake_ups_, static_cast<int>(num_pieces));
}

}  // namespace hfr
