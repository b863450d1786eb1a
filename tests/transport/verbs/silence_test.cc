#include "transport/verbs/silence.hpp"

#include <gtest/gtest.h>

namespace hfr::verbs {
namespace {

constexpr uint64_t kStep = 100'000'000;

// Looks 20 times, every 100 ms, and returns the silence that the last one found.
template <typename Counts>
uint64_t silence_after(uint64_t& now, SilenceWatch& watch, Counts&& counts) {
  uint64_t silence = 0;
  for (uint64_t i = 0; i < 20; ++i, now += kStep) {
    const auto [posted, completed] = counts(i);
    silence = watch.look(posted, completed, now);
  }
  return silence;
}

TEST(SilenceWatch, GrowsWhileSomethingIsDueAndNothingComes) {
  SilenceWatch watch;
  uint64_t now = 77 * kPauseNs;
  EXPECT_EQ(silence_after(now, watch, [](uint64_t i) { return std::pair(5 + i, 3); }), 19 * kStep);
}

TEST(SilenceWatch, EndsWithACompletionAndWhenNothingIsDue) {
  SilenceWatch watch;
  uint64_t now = 77 * kPauseNs;
  EXPECT_EQ(silence_after(now, watch, [](uint64_t i) { return std::pair(100, 3 + i / 19); }), 0u);
  EXPECT_EQ(silence_after(now, watch, [](uint64_t) { return std::pair(9, 9); }), 0u);
}

TEST(SilenceWatch, TimeInWhichNobodyLookedDoesNotCount) {
  SilenceWatch watch;
  uint64_t now = 77 * kPauseNs;
  silence_after(now, watch, [](uint64_t) { return std::pair(5, 3); });
  now += 60 * kPauseNs;
  EXPECT_EQ(silence_after(now, watch, [](uint64_t) { return std::pair(5, 3); }), 19 * kStep);
}

TEST(SilenceWatch, AnotherQueuePairBeginsAnew) {
  SilenceWatch watch;
  uint64_t now = 77 * kPauseNs;
  silence_after(now, watch, [](uint64_t) { return std::pair(5, 0); });
  watch.reset();
  EXPECT_EQ(watch.look(5, 0, now), 0u);
}

TEST(MostSilence, IsPastTheDevicesPatienceAndWithinOurs) {
  constexpr uint64_t kSecond = 1'000'000'000;
  EXPECT_EQ(most_silence_ns(7 * kSecond, 150 * kSecond), 28 * kSecond);
  EXPECT_EQ(most_silence_ns(7 * kSecond, 30 * kSecond), 15 * kSecond);
  EXPECT_EQ(most_silence_ns(1000, 30 * kSecond), kSecond);
}

}  // namespace
}  // namespace hfr::verbs
