// Waiter: spins, then yields, then sleeps, the longer the wait the cheaper.
//
// A flag in shared memory is seen in 0.2 us by a spinner; a yield costs about 1 us; waking a
// sleeper can cost 40 us. So only long waits sleep, in steps that grow to a millisecond.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/net.hpp"

namespace hfr {

struct WaitPolicy {
  uint64_t spin_ns = 50'000;
  uint64_t sleep_after_ns = 5'000'000;
  uint64_t longest_sleep_ns = 1'000'000;
};

class Waiter {
 public:
  static constexpr uint64_t kShortestSleepNs = 50'000;

  explicit Waiter(const WaitPolicy& policy) : policy_(policy) {}

  // The wait is over; the next one starts fresh.
  void reset() {
    turns_ = 0;
    since_ns_ = 0;
    yielding_ = false;
    sleep_ns_ = kShortestSleepNs;
  }

  // Somebody else needs this CPU: no more spinning in this wait, once pause() has looked at the
  // clock.
  void give_way() { yielding_ = true; }

  // One step of waiting. Returns the time when it looked at the clock, else 0.
  uint64_t pause() {
    return pause([](uint64_t ns) { sleep(ns); });
  }

  // `sleep_for(ns)` sleeps at most so long, better until something happens.
  template <typename Sleep>
  uint64_t pause(Sleep&& sleep_for) {
    if (policy_.spin_ns > 0 && !yielding_ && ++turns_ % kTurnsPerLook != 0) {
      relax();
      return 0;
    }
    uint64_t now = monotonic_ns();
    if (since_ns_ == 0) {
      since_ns_ = now;
      yielding_ = policy_.spin_ns == 0;
    }
    uint64_t waited = now - since_ns_;
    if (!yielding_ && waited < policy_.spin_ns) return now;
    yielding_ = true;
    if (waited < policy_.sleep_after_ns) {
      sched_yield();
      return now;
    }
    sleep_for(sleep_ns_);
    sleep_ns_ = std::min(sleep_ns_ * 2, policy_.longest_sleep_ns);
    return now;
  }

  static void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  static void sleep(uint64_t ns) {
    timespec span{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    nanosleep(&span, nullptr);
  }

 private:
  static constexpr uint32_t kTurnsPerLook = 32;

  WaitPolicy policy_;
  uint32_t turns_ = 0;
  bool yielding_ = false;
  uint64_t since_ns_ = 0;
  uint64_t sleep_ns_ = kShortestSleepNs;
};

}  // namespace hfr
