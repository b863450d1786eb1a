#include "reduce/task_board.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace hfr {
namespace {

constexpr int kTagShift = 32;

uint32_t tag(uint64_t number) { return static_cast<uint32_t>(number + 1); }

// Both return at once when there is nothing to do; a spurious return is harmless. Not private to a
// process.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word, int num_threads) {
  syscall(SYS_futex, &word, FUTEX_WAKE, num_threads, nullptr, nullptr, 0);
}

// Each address of the descriptor, moved.
template <typename Move>
void move_addresses(ReduceDescriptor& work, Move&& move) {
  for (int s = 0; s < work.num_srcs; ++s) work.srcs[s] = move(work.srcs[s]);
  for (int d = 0; d < work.num_dsts; ++d) work.dsts[d] = move(work.dsts[d]);
  if (work.streaming_dst != nullptr) work.streaming_dst = move(work.streaming_dst);
}

}  // namespace

uint32_t TaskBoard::count_pieces(const ReduceDescriptor& work) const {
  const size_t bytes = work.count * dtype_size(work.dtype);
  const size_t traffic = bytes * static_cast<size_t>(work.num_srcs + work.num_dsts);
  const size_t wanted =
      std::max<size_t>(num_threads_.load(std::memory_order_relaxed), traffic / kMaxPieceTraffic);
  const size_t most =
      std::min({traffic / kMinPieceTraffic, bytes / kPieceStep, size_t{kMaxPieces}});
  return static_cast<uint32_t>(std::clamp<size_t>(wanted, 1, std::max<size_t>(most, 1)));
}

std::optional<uint64_t> TaskBoard::post(const ReduceDescriptor& work, const std::byte* base) {
  uint64_t number = posted_.load();
  while (true) {
    if (number >= kCapacity && !finished(number - kCapacity)) {
      const uint64_t now = posted_.load();
      if (now == number) return std::nullopt;
      number = now;  // somebody else was first
    } else if (posted_.compare_exchange_weak(number, number + 1)) {
      break;
    }
  }
  Task& mine = task(number);
  // Nobody reads the task before the store to `claims`: the pieces of its predecessor are finished.
  mine.work = work;
  move_addresses(mine.work, [&](auto* address) {
    const auto distance = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(base);
    return reinterpret_cast<decltype(address)>(distance);
  });
  const uint32_t num_pieces = count_pieces(work);
  mine.num_pieces = num_pieces;
  mine.unfinished.store(num_pieces, std::memory_order_relaxed);
  const uint64_t pieces = (uint64_t{1} << num_pieces) - 1;
  mine.claims.store(uint64_t{tag(number)} << kTagShift | pieces, std::memory_order_release);
  // From here on the task may be done, and another in its place.
  // A sleeper announces itself before it looks at `posted_` for the last time: one sees the other.
  if (sleepers_.load() != 0) wake(static_cast<int>(num_pieces));
  return number;
}

TaskBoard::Piece TaskBoard::take(uint64_t number, uint32_t preferred, int rank) {
  std::atomic<uint64_t>& claims = task(number).claims;
  uint64_t seen = claims.load(std::memory_order_acquire);
  while (true) {
    const auto ahead = static_cast<int32_t>(static_cast<uint32_t>(seen >> kTagShift) - tag(number));
    if (ahead < 0) return {Look::kSoon, 0};
    const auto free = static_cast<uint32_t>(seen);
    if (ahead > 0 || free == 0) return {Look::kOver, 0};
    const bool mine = preferred < kMaxPieces && (free >> preferred & 1) != 0;
    const uint32_t idx = mine ? preferred : static_cast<uint32_t>(std::countr_zero(free));
    const uint64_t rest = seen & ~(uint64_t{1} << idx);
    if (claims.compare_exchange_weak(seen, rest, std::memory_order_acquire)) {
      task(number).holders[idx].store(static_cast<uint16_t>(rank + 1), std::memory_order_relaxed);
      return {Look::kTaken, idx};
    }
  }
}

TaskBoard::Range TaskBoard::range(uint64_t number, uint32_t piece, const std::byte* base) const {
  const Task& mine = task(number);
  Range range;
  range.work = mine.work;
  move_addresses(range.work, [&](auto* distance) {
    const auto address = reinterpret_cast<uintptr_t>(distance) + reinterpret_cast<uintptr_t>(base);
    return reinterpret_cast<decltype(distance)>(address);
  });
  const size_t element = dtype_size(range.work.dtype);
  // Steps count from where the first destination meets a cache line.
  const size_t past_line = reinterpret_cast<uintptr_t>(range.work.dsts[0]) % kCacheLine;
  const size_t head = (kCacheLine - past_line) % kCacheLine / element;
  const size_t step = kPieceStep / element;
  const size_t num_steps = range.work.count / step;
  auto boundary = [&](size_t p) {
    if (p == 0) return size_t{0};
    if (p == mine.num_pieces) return range.work.count;
    return std::min(range.work.count, head + p * num_steps / mine.num_pieces * step);
  };
  range.first = boundary(piece);
  range.count = boundary(piece + 1) - range.first;
  return range;
}

void TaskBoard::finish(uint64_t number, uint32_t piece) {
  Task& mine = task(number);
  mine.holders[piece].store(0, std::memory_order_relaxed);
  if (mine.unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    mine.finished.store(number + 1, std::memory_order_release);
  }
}

int TaskBoard::holder(uint64_t number) const {
  if (finished(number)) return -1;
  for (const std::atomic<uint16_t>& rank_plus_one : task(number).holders) {
    const int rank = rank_plus_one.load(std::memory_order_relaxed) - 1;
    if (rank >= 0) return rank;
  }
  return -1;
}

void TaskBoard::sleep(uint64_t seen, const std::atomic<bool>& ending) {
  const uint32_t wake_ups = wake_ups_.load();
  sleepers_.fetch_add(1);
  if (posted_.load() == seen && !ending.load()) futex_wait(wake_ups_, wake_ups);
  sleepers_.fetch_sub(1);
}

void TaskBoard::wake(int num_threads) {
  wake_ups_.fetch_add(1);
  futex_wake(wake_ups_, num_threads);
}

}  // namespace hfr
