// TaskBoard: adds that wait for a thread, in memory that all ranks of a node share, so that every
// rank's threads work on every rank's adds.
//
//   ring of tasks    | #4: 1011 | #5: 1111 | #6: 0001 |      bit p: nobody has taken piece p yet
//                         ^ piece 2 is being added           #6 is too small to be cut
//
// A task is one descriptor, cut into contiguous ranges that meet on 4 KiB steps of the destination,
// so that no two threads write one cache line. Its addresses are distances from `base`, as each
// process maps the memory elsewhere. No element's order of adding depends on who takes what.
//
// Threads: any thread of any rank, at any time. Memory that is all zeros is an empty board.
#pragma once

#include <array>
#include <atomic>
#include <optional>

#include "base/counter.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

class TaskBoard {
 public:
  static constexpr size_t kCapacity = 64;
  static constexpr uint32_t kMaxPieces = 32;
  static constexpr size_t kPieceStep = 4096;
  // Below this much memory traffic a further thread costs more than it saves.
  static constexpr size_t kMinPieceTraffic = size_t{64} << 10;
  // Above it the last piece keeps the others' threads waiting for long.
  static constexpr size_t kMaxPieceTraffic = size_t{1} << 20;

  // Threads that take pieces. Returns how many there were.
  uint32_t join(uint32_t num_threads) { return num_threads_.fetch_add(num_threads); }
  void leave(uint32_t num_threads) { num_threads_.fetch_sub(num_threads); }

  // Appends a task and wakes who sleeps. Returns its number; none when the ring is full.
  std::optional<uint64_t> post(const ReduceDescriptor& work, const std::byte* base);
  // Whether task `number` is done.
  bool finished(uint64_t number) const {
    return task(number).finished.load(std::memory_order_acquire) > number;
  }

  enum class Look : uint8_t {
    kTaken,  // a piece is the caller's to add: run(), then finish()
    kOver,   // no piece of this task is left
    kSoon,   // it has been announced and can be read in a moment
  };
  struct Piece {
    Look look;
    uint32_t idx;
  };
  // A piece of task `number`, which is below posted(): `preferred` while it is free, as threads
  // that take the same range each time meet the same memory.
  // `rank`, the caller's local one, holds it until finish().
  Piece take(uint64_t number, uint32_t preferred, int rank);
  struct Range {
    ReduceDescriptor work;  // addresses as the caller's process knows them
    size_t first = 0;       // element
    size_t count = 0;
  };
  Range range(uint64_t number, uint32_t piece, const std::byte* base) const;
  void finish(uint64_t number, uint32_t piece);
  // A rank that holds a piece of a task that is not done; -1: none does. A rank that died may.
  int holder(uint64_t number) const;

  // Tasks announced so far. Older ones than the last kCapacity are over.
  uint64_t posted() const { return posted_.load(std::memory_order_seq_cst); }
  // Sleeps until there are more than `seen` tasks, `ending` is set, or for no reason.
  void sleep(uint64_t seen, const std::atomic<bool>& ending);
  void wake(int num_threads);

 private:
  struct alignas(kCacheLine) Task {
    // Its number + 1, cut to 32 bits, above the bits of the pieces that nobody took yet.
    std::atomic<uint64_t> claims{0};
    std::atomic<uint32_t> unfinished{0};  // pieces
    uint32_t num_pieces = 0;
    std::atomic<uint64_t> finished{0};  // number + 1 of the last task that was done in this place
    std::array<std::atomic<uint16_t>, kMaxPieces> holders{};  // a piece's rank + 1; 0: nobody
    ReduceDescriptor work;
  };

  Task& task(uint64_t number) { return tasks_[number % kCapacity]; }
  const Task& task(uint64_t number) const { return tasks_[number % kCapacity]; }
  uint32_t count_pieces(const ReduceDescriptor& work) const;

  alignas(kCacheLine) std::atomic<uint64_t> posted_{0};
  alignas(kCacheLine) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> wake_ups_{0};  // the futex
  std::atomic<uint32_t> num_threads_{0};
  std::array<Task, kCapacity> tasks_;  // number n is in place n mod kCapacity
};

}  // namespace hfr
