// TaskBoard in memory that two processes see at different addresses: two mappings of one file play
// them.
#include "reduce/task_board.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/waiter.hpp"
#include "reduce/worker_pool.hpp"

namespace hfr_tests {
namespace {

using hfr::DType;
using hfr::ReduceDescriptor;
using hfr::TaskBoard;
using hfr::WorkerPool;

const hfr::KernelTable& kernels() { return *hfr::supported_kernel_tables().back(); }

// A board, and numbers behind it.
class SharedFile {
 public:
  static constexpr size_t kBytes = size_t{8} << 20;
  SharedFile() : fd_(memfd_create("board", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, kBytes), 0);
    for (std::byte*& view : views_) {
      void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
      EXPECT_NE(memory, MAP_FAILED);
      view = static_cast<std::byte*>(memory);
    }
  }
  ~SharedFile() {
    for (std::byte* view : views_) munmap(view, kBytes);
    close(fd_);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  std::byte* base(int view) const { return views_[view]; }
  TaskBoard& board(int view) const { return *reinterpret_cast<TaskBoard*>(views_[view]); }
  int32_t* numbers(int view, size_t array) const {
    return reinterpret_cast<int32_t*>(views_[view] + (size_t{1} << 20)) + array * kCount;
  }
  static constexpr size_t kCount = 100'000;

  // sum = a + b, by view `view`'s addresses.
  ReduceDescriptor add(int view, size_t sum, size_t a, size_t b, size_t count = kCount) const {
    ReduceDescriptor work;
    work.dtype = DType::kInt32;
    work.count = count;
    work.num_srcs = 2;
    work.srcs[0] = numbers(view, a);
    work.srcs[1] = numbers(view, b);
    work.num_dsts = 1;
    work.dsts[0] = numbers(view, sum);
    return work;
  }
  void fill(size_t array, int32_t value) {
    for (size_t i = 0; i < kCount; ++i) numbers(0, array)[i] = value + static_cast<int32_t>(i);
  }

 private:
  int fd_;
  std::byte* views_[2];
};

// The thread sanitizer takes two views for memory that nothing orders.
#if defined(__SANITIZE_THREAD__)
constexpr int kOtherView = 0;
#else
constexpr int kOtherView = 1;
#endif

std::unique_ptr<WorkerPool> make_pool(const SharedFile& file, int view, size_t num_workers) {
  auto pool = WorkerPool::create(kernels(), {.cpus = std::vector<std::vector<int>>(num_workers),
                                             .wait = {.spin_ns = 0, .sleep_after_ns = 100'000},
                                             .board = &file.board(view),
                                             .base = file.base(view)});
  EXPECT_TRUE(pool.ok());
  return std::move(*pool);
}

TEST(TaskBoard, OthersAddWhatOnePosts) {
  SharedFile file;
  file.fill(0, 5);
  file.fill(1, 7);
  auto pool = make_pool(file, kOtherView, 3);
  for (int round = 0; round < 200; ++round) {
    const size_t sum = 2 + static_cast<size_t>(round) % 3;
    file.fill(sum, -1);
    const auto number = file.board(0).post(file.add(0, sum, 0, 1), file.base(0));
    ASSERT_TRUE(number);
    hfr::Waiter waiter(hfr::WaitPolicy{.spin_ns = 0});
    while (!file.board(0).finished(*number)) waiter.pause();
    for (size_t i = 0; i < SharedFile::kCount; ++i) {
      ASSERT_EQ(file.numbers(0, sum)[i], 12 + 2 * static_cast<int32_t>(i)) << round;
    }
  }
}

// All by one view.
TEST(TaskBoard, PoolsOfAllRanksPostTogether) {
  constexpr size_t kPlaces = 64;
  constexpr size_t kSmall = 900;
  SharedFile file;
  file.fill(0, 5);
  file.fill(1, 7);
  std::vector<std::unique_ptr<WorkerPool>> pools;
  for (int rank = 0; rank < 4; ++rank) pools.push_back(make_pool(file, 0, 1));
  std::vector<std::thread> ranks;
  for (size_t rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] {
      // Small ones, so that the ring is full at times. A token is a place in the rank's array.
      std::deque<hfr::Token> free;
      for (hfr::Token place = 0; place < kPlaces; ++place) free.push_back(place);
      std::set<hfr::Token> open;
      int submitted = 0;
      hfr::Token done[3];
      while (submitted < 2000 || !open.empty()) {
        if (submitted < 2000 && !free.empty()) {
          ReduceDescriptor work = file.add(0, 2 + rank, 0, 1, kSmall);
          work.dsts[0] = static_cast<int32_t*>(work.dsts[0]) + free.front() * 1024;
          if (pools[rank]->submit(work, free.front())) {
            open.insert(free.front());
            free.pop_front();
            ++submitted;
          }
        }
        const size_t num_done = pools[rank]->poll(done);
        for (size_t i = 0; i < num_done; ++i) {
          ASSERT_EQ(open.erase(done[i]), 1u);
          free.push_back(done[i]);
        }
        if (num_done == 0) sched_yield();
      }
      for (size_t place = 0; place < kPlaces; ++place) {
        for (size_t i = 0; i < kSmall; ++i) {
          ASSERT_EQ(file.numbers(0, 2 + rank)[place * 1024 + i], 12 + 2 * static_cast<int32_t>(i));
        }
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST(TaskBoard, AFullRingRefusesUntilItsOldestIsDone) {
  SharedFile file;
  TaskBoard& board = file.board(0);
  const ReduceDescriptor work = file.add(0, 2, 0, 1, 10);
  for (uint64_t n = 0; n < TaskBoard::kCapacity; ++n) {
    ASSERT_EQ(board.post(work, file.base(0)), n);
  }
  EXPECT_FALSE(board.post(work, file.base(0)));
  ASSERT_EQ(board.take(1, 0, 0).look, TaskBoard::Look::kTaken);
  board.finish(1, 0);
  EXPECT_FALSE(board.post(work, file.base(0))) << "the oldest is still there";
  ASSERT_EQ(board.take(0, 0, 0).look, TaskBoard::Look::kTaken);
  EXPECT_FALSE(board.post(work, file.base(0))) << "it is under way";
  board.finish(0, 0);
  EXPECT_TRUE(board.finished(0));
  EXPECT_FALSE(board.finished(2));
  EXPECT_EQ(board.post(work, file.base(0)), TaskBoard::kCapacity);
  EXPECT_EQ(board.post(work, file.base(0)), TaskBoard::kCapacity + 1);
  EXPECT_EQ(board.take(0, 0, 0).look, TaskBoard::Look::kOver) << "its place has a new task";
}

TEST(TaskBoard, PiecesCoverEveryElementOnce) {
  for (uint32_t num_threads : {1u, 2u, 7u, 32u, 100u}) {
    for (size_t count : {size_t{0}, size_t{1}, size_t{1023}, size_t{20'011}, SharedFile::kCount}) {
      SharedFile file;
      TaskBoard& board = file.board(0);
      board.join(num_threads);
      ReduceDescriptor work = file.add(0, 2, 0, 1, count);
      work.dsts[0] = static_cast<int32_t*>(work.dsts[0]) + 3;  // off the cache line
      ASSERT_EQ(board.post(work, file.base(0)), 0u);
      std::vector<uint32_t> pieces;
      TaskBoard::Piece piece = board.take(0, num_threads / 2, 0);
      for (; piece.look == TaskBoard::Look::kTaken; piece = board.take(0, 0, 0)) {
        pieces.push_back(piece.idx);
      }
      EXPECT_EQ(piece.look, TaskBoard::Look::kOver);
      EXPECT_LE(pieces.size(), std::min(num_threads, TaskBoard::kMaxPieces));
      std::sort(pieces.begin(), pieces.end());
      size_t at = 0;
      for (uint32_t idx : pieces) {
        const TaskBoard::Range range = board.range(0, idx, file.base(1));
        EXPECT_EQ(range.work.dsts[0], file.numbers(1, 2) + 3) << "as the other view has it";
        EXPECT_EQ(range.first, at);
        at += range.count;
        if (at < count) {
          EXPECT_EQ(reinterpret_cast<uintptr_t>(file.numbers(1, 2) + 3 + at) % 64, 0u);
        }
      }
      EXPECT_EQ(at, count);
    }
  }
}

// A rank is killed with a piece of another rank's add in its hands: the add is never done, and the
// board says who has it. What is posted later is done as ever.
TEST(TaskBoard, AKilledRankStillHoldsItsPiece) {
  SharedFile file;
  for (size_t array : {0u, 1u}) file.fill(array, 5);
  TaskBoard& board = file.board(0);
  board.join(4);
  const auto number = board.post(file.add(0, 2, 0, 1), file.base(0));
  ASSERT_EQ(number, 0u);
  EXPECT_EQ(board.holder(0), -1);
  int taken[2];
  ASSERT_EQ(pipe(taken), 0);
  const pid_t rank = fork();
  if (rank == 0) {
    const bool has = file.board(1).take(0, 1, 3).look == TaskBoard::Look::kTaken;
    _exit(write(taken[1], &has, 1) == 1 && pause() != 0 ? 0 : 1);
  }
  char has = 0;
  ASSERT_EQ(read(taken[0], &has, 1), 1);
  EXPECT_EQ(has, 1);
  kill(rank, SIGKILL);
  waitpid(rank, nullptr, 0);
  close(taken[0]);
  close(taken[1]);
  auto pool = make_pool(file, 0, 1);
  ASSERT_TRUE(pool->submit(file.add(0, 3, 0, 1), 7));
  hfr::Token done = 0;
  hfr::Waiter waiter(hfr::WaitPolicy{.spin_ns = 0});
  while (pool->poll({&done, 1}) == 0) waiter.pause();
  EXPECT_EQ(done, 7u);
  EXPECT_EQ(pool->holder(7), -1);
  EXPECT_FALSE(board.finished(0));
  EXPECT_EQ(board.holder(0), 3);
}

}  // namespace
}  // namespace hfr_tests
