#include "engine/path_tuner.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace hfr {
namespace {

constexpr size_t kFrom = size_t{128} << 10;
constexpr size_t kMiB = size_t{1} << 20;

constexpr uint64_t kLesson = 2 * PathTuner::kTrials;

using Times = std::vector<std::vector<uint64_t>>;  // [rank][way]

// One operation on all ranks: through the kernel when all offer that.
bool operate(std::vector<PathTuner>& ranks, size_t bytes, const Times& ns) {
  bool by_kernel = true;
  for (PathTuner& rank : ranks) by_kernel &= rank.offers_kernel(bytes);
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i].record(bytes, by_kernel, ns[i][by_kernel]);
  return by_kernel;
}

// How many of so many operations went through the kernel.
uint64_t run(std::vector<PathTuner>& ranks, uint64_t num_ops, size_t bytes, const Times& ns) {
  uint64_t by_kernel = 0;
  for (uint64_t op = 0; op < num_ops; ++op) by_kernel += operate(ranks, bytes, ns) ? 1 : 0;
  return by_kernel;
}

const std::vector<uint64_t> kKernelIsFaster = {300, 200};
const std::vector<uint64_t> kStagingIsFaster = {200, 300};

TEST(PathTuner, SmallSizesAreNotLearnt) {
  PathTuner tuner(kFrom);
  EXPECT_FALSE(tuner.learns(kFrom - 1));
  EXPECT_TRUE(tuner.offers_kernel(kFrom - 1));
  EXPECT_TRUE(tuner.learns(kFrom));
}

TEST(PathTuner, TriesBothWaysThenStaysWithTheFaster) {
  for (const auto& times : {kKernelIsFaster, kStagingIsFaster}) {
    std::vector<PathTuner> ranks(3, PathTuner(kFrom));
    const Times ns(3, times);
    EXPECT_EQ(run(ranks, kLesson, kMiB, ns), PathTuner::kTrials);
    const uint64_t rest = PathTuner::kFirstInterval - kLesson;
    EXPECT_EQ(run(ranks, rest, kMiB, ns), times == kKernelIsFaster ? rest : 0);
  }
}

TEST(PathTuner, TheFirstTrialOfAWayDoesNotCount) {
  std::vector<PathTuner> ranks(1, PathTuner(kFrom));
  EXPECT_TRUE(operate(ranks, kMiB, {{0, 1}}));  // lucky, and not looked at
  run(ranks, kLesson - 1, kMiB, {kStagingIsFaster});
  EXPECT_FALSE(operate(ranks, kMiB, {kStagingIsFaster}));
}

// What was learnt while the machine was in another state is not kept for good.
TEST(PathTuner, LearnsAnewNowAndThen) {
  std::vector<PathTuner> ranks(2, PathTuner(kFrom));
  const Times before(2, kStagingIsFaster), after(2, kKernelIsFaster);
  run(ranks, kLesson, kMiB, before);
  EXPECT_EQ(run(ranks, PathTuner::kFirstInterval - kLesson, kMiB, after), 0u);
  run(ranks, kLesson, kMiB, after);
  EXPECT_TRUE(operate(ranks, kMiB, after));
  // Ever more rarely: of many operations few take the slower way.
  constexpr uint64_t kMany = 100'000;
  const uint64_t slower = kMany - run(ranks, kMany, kMiB, after);
  EXPECT_GT(slower, 10 * PathTuner::kTrials);
  EXPECT_LT(slower, kMany / 500);
}

// Operations beside others are not timed.
TEST(PathTuner, WithoutTrialsAllStays) {
  PathTuner tuner(kFrom);
  for (uint64_t op = 0; op < kLesson; ++op) tuner.offers_kernel(kMiB);
  EXPECT_TRUE(tuner.offers_kernel(kMiB)) << "nothing is known";
  std::vector<PathTuner> ranks(1, PathTuner(kFrom));
  run(ranks, PathTuner::kFirstInterval, kMiB, {kStagingIsFaster});
  for (uint64_t op = 0; op < kLesson; ++op) ranks[0].offers_kernel(kMiB);
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB)) << "the lesson before";
}

TEST(PathTuner, RanksThatSeeOtherTimesStillTakeOneWay) {
  std::vector<PathTuner> ranks(2, PathTuner(kFrom));
  const Times ns = {kKernelIsFaster, kStagingIsFaster};
  run(ranks, kLesson, kMiB, ns);
  EXPECT_FALSE(operate(ranks, kMiB, ns));
  EXPECT_TRUE(ranks[0].offers_kernel(kMiB));
  EXPECT_FALSE(ranks[1].offers_kernel(kMiB));
}

TEST(PathTuner, SizeClassesAreApart) {
  std::vector<PathTuner> ranks(1, PathTuner(kFrom));
  run(ranks, kLesson, kMiB, {kStagingIsFaster});
  run(ranks, kLesson, 4 * kMiB, {kKernelIsFaster});
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB));
  EXPECT_FALSE(ranks[0].offers_kernel(kMiB + 4096));
  EXPECT_TRUE(ranks[0].offers_kernel(4 * kMiB));
}

}  // namespace
}  // namespace hfr
