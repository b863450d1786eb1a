#include "reduce/worker_pool.hpp"

#include <pthread.h>

#include <climits>
#include <system_error>

#include "base/text.hpp"
#include "reduce/piece.hpp"
#include "topo/worker_cpus.hpp"

namespace hfr {

WorkerPool::WorkerPool(const KernelTable& kernels, const Options& options)
    : kernels_(kernels),
      wait_(options.wait),
      own_board_(options.board == nullptr ? std::make_unique<TaskBoard>() : nullptr),
      board_(options.board == nullptr ? *own_board_ : *options.board),
      base_(options.base),
      rank_(options.rank) {}

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(const KernelTable& kernels,
                                                       const Options& options) {
  const size_t num_workers = options.cpus.size();
  if (num_workers < 1 || num_workers > static_cast<size_t>(kMaxWorkers)) {
    return Status(Code::kInvalidArgument,
                  cat("a reduce pool of ", num_workers, " threads: it must be 1 to ", kMaxWorkers));
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(kernels, options));
  std::vector<pthread_t> threads;
  for (size_t w = 0; w < num_workers; ++w) {
    const uint32_t worker = pool->board_.join(1);
    try {
      pool->workers_.emplace_back([raw = pool.get(), worker] { raw->work(worker); });
    } catch (const std::system_error& error) {
      pool->board_.leave(1);
      return system_error(cat("starting thread ", w + 1, " of ", num_workers, " of a reduce pool"),
                          error.code().value());
    }
    threads.push_back(pool->workers_.back().native_handle());
    pthread_setname_np(threads.back(), "hfreduce_add");
  }
  bind_threads(threads, options.cpus);
  return pool;
}

WorkerPool::~WorkerPool() {
  ending_.store(true);
  board_.wake(INT_MAX);
  for (std::thread& worker : workers_) worker.join();
  board_.leave(static_cast<uint32_t>(workers_.size()));
}

void WorkerPool::run(const ReduceDescriptor& work) { run_piece(kernels_, work, 0, work.count); }

bool WorkerPool::submit(const ReduceDescriptor& work, Token token) {
  if (num_open_ == kCapacity) return false;
  const std::optional<uint64_t> number = board_.post(work, base_);
  if (!number) return false;
  open_[num_open_++] = {*number, token};
  return true;
}

size_t WorkerPool::poll(std::span<Token> done) {
  size_t num_done = 0;
  for (size_t i = 0; i < num_open_ && num_done < done.size();) {
    if (!board_.finished(open_[i].number)) {
      ++i;
      continue;
    }
    done[num_done++] = open_[i].token;
    open_[i] = open_[--num_open_];
  }
  return num_done;
}

int WorkerPool::holder(Token token) const {
  for (size_t i = 0; i < num_open_; ++i) {
    if (open_[i].token == token) return board_.holder(open_[i].number);
  }
  return -1;
}

void WorkerPool::work(uint32_t worker) {
  uint64_t number = 0;
  Waiter waiter(wait_);
  while (!ending_.load(std::memory_order_relaxed)) {
    const uint64_t posted = board_.posted();
    if (number == posted) {
      waiter.pause([&](uint64_t) { board_.sleep(number, ending_); });
      continue;
    }
    // Whoever slept long finds what is still in the ring.
    if (posted - number > TaskBoard::kCapacity) number = posted - TaskBoard::kCapacity;
    const TaskBoard::Piece piece = board_.take(number, worker, rank_);
    if (piece.look == TaskBoard::Look::kSoon) {
      waiter.pause([](uint64_t) { sched_yield(); });
      continue;
    }
    waiter.reset();
    if (piece.look == TaskBoard::Look::kOver) {
      ++number;
      continue;
    }
    const TaskBoard::Range range = board_.range(number, piece.idx, base_);
    run_piece(kernels_, range.work, range.first, range.count);
    board_.finish(number, piece.idx);
  }
}

}  // namespace hfr
