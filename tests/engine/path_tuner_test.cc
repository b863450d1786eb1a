#include "engine/path_tuner.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace hfr {
namespace {

constexpr size_t kFrom = size_t{128} << 10;
constexpr size_t kMiB = size_t{1} << 20;

// One operation on all ranks: through the kernel when all offer that. `ns[rank][way]`.
bool operate(std::vector<PathTuner>& ranks, size_t bytes,
             const std::vector<std::vector<uint64_t>>& ns) {
  bool by_kernel = true;
  for (const PathTuner& rank : ranks) by_kernel &= rank.offers_kernel(bytes);
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i].record(bytes, by_kernel, ns[i][by_kernel]);
  return by_kernel;
}

TEST(PathTuner, SmallSizesAreNotLearnt) {
  PathTuner tuner(kFrom);
  EXPECT_FALSE(tuner.learns(kFrom - 1));
  EXPECT_TRUE(tuner.offers_kernel(kFrom - 1));
  EXPECT_TRUE(tuner.learns(kFrom));
}

TEST(PathTuner, TriesBothWaysThenStaysWithTheFaster) {
  for (bool kernel_is_faster : {false, true}) {
    std::vector<PathTuner> ranks(3, PathTuner(kFrom));
    const std::vector<uint64_t> times =
        kernel_is_faster ? std::vector<uint64_t>{300, 200} : std::vector<uint64_t>{200, 300};
    std::vector<int> tried(2);
    for (uint32_t op = 0; op < 2 * PathTuner::kTrials; ++op) {
      ++tried[operate(ranks, kMiB, {times, times, times})];
    }
    EXPECT_EQ(tried, std::vector<int>(2, PathTuner::kTrials));
    for (int op = 0; op < 5; ++op) {
      EXPECT_EQ(operate(ranks, kMiB, {times, times, times}), kernel_is_faster);
    }
  }
}

TEST(PathTuner, TheFirstTrialOfAWayDoesNotCount) {
  std::vector<PathTuner> ranks(1, PathTuner(kFrom));
  EXPECT_TRUE(operate(ranks, kMiB, {{0, 1}}));  // lucky, and not looked at
  while (ranks[0].offers_kernel(kMiB)) operate(ranks, kMiB, {{200, 300}});
  for (uint32_t op = 0; op < 2 * PathTuner::kTrials; ++op) operate(ranks, kMiB, {{200, 300}});
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB));
}

TEST(PathTuner, RanksThatSeeOtherTimesStillTakeOneWay) {
  std::vector<PathTuner> ranks(2, PathTuner(kFrom));
  for (uint32_t op = 0; op < 4 * PathTuner::kTrials; ++op) {
    operate(ranks, kMiB, {{300, 200}, {200, 300}});
  }
  EXPECT_TRUE(ranks[0].offers_kernel(kMiB));
  EXPECT_FALSE(ranks[1].offers_kernel(kMiB));
  EXPECT_FALSE(operate(ranks, kMiB, {{300, 200}, {200, 300}}));
}

TEST(PathTuner, SizeClassesAreApart) {
  std::vector<PathTuner> ranks(1, PathTuner(kFrom));
  for (uint32_t op = 0; op < 2 * PathTuner::kTrials; ++op) operate(ranks, kMiB, {{200, 300}});
  for (uint32_t op = 0; op < 2 * PathTuner::kTrials; ++op) operate(ranks, 4 * kMiB, {{300, 200}});
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB));
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB + 4096));
  EXPECT_TRUE(ranks[0].offers_kernel(4 * kMiB));
}

}  // namespace
}  // namespace hfr
