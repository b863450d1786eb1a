// What the ranks of a trial share with each other and with the driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

constexpr int kMaxRanks = 16;
constexpr int kMaxLives = 4;
constexpr int kMaxGrowths = 2;

// The job's page. job.py reads and writes the same bytes.
enum class Phase : uint64_t {
  kStarted,
  kJoining,
  kTraining,
  kShrinking,
  kSuspending,  // and resuming
  kGrowing,     // a new rank: joining
  kEnding,
  kDone
};
struct Page {
  struct alignas(64) Header {
    std::atomic<uint64_t> stop;          // the driver has seen enough
    std::atomic<uint64_t> nobody_grows;  // no member is left whom a new rank could join
  } header;
  struct alignas(64) Id {
    std::atomic<uint64_t> made;  // 2: it could not be
    hfr_unique_id_t id;
    uint64_t num_members;  // of the communicator that grows
  } ids[kMaxLives], growths[kMaxGrowths];
  struct alignas(64) Rank {
    std::atomic<uint64_t> phase;
    std::atomic<uint64_t> steps;       // whose sums were checked, ever
    std::atomic<uint64_t> since_ns;    // of the call into the library that it is in; 0: none
    std::atomic<uint64_t> promise_ms;  // how long that call may take
    std::atomic<uint64_t> life;
  } ranks[kMaxRanks];
};
static_assert(sizeof(Page::Header) == 64 && sizeof(Page::Id) == 192 && sizeof(Page::Rank) == 64);

inline uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

inline void sleep_us(long us) {
  timespec span{us / 1'000'000, us % 1'000'000 * 1000};
  nanosleep(&span, nullptr);
}

}  // namespace hfr_tests
