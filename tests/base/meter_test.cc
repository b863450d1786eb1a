#include "base/meter.hpp"

#include <gtest/gtest.h>

namespace hfr {
namespace {

TEST(Meter, BucketsMeetWhereTheirLimitsSay) {
  for (size_t bucket = 0; bucket + 1 < kTimeBuckets; ++bucket) {
    const uint64_t limit = time_bucket_limit_ns(bucket);
    EXPECT_EQ(time_bucket(limit), bucket);
    EXPECT_EQ(time_bucket(limit + 1), bucket + 1);
  }
  EXPECT_EQ(time_bucket(0), 0u);
  EXPECT_EQ(time_bucket(UINT64_MAX), kTimeBuckets - 1);
}

TEST(Meter, ATimeIsInTheFirstBucketThatReachesIt) {
  for (uint64_t ns = 1; ns < uint64_t{1} << 40; ns += ns / 7 + 1) {
    size_t expected = 0;
    while (expected + 1 < kTimeBuckets && ns > time_bucket_limit_ns(expected)) ++expected;
    ASSERT_EQ(time_bucket(ns), expected) << ns;
  }
}

TEST(Meter, AStageAddsUp) {
  StageMeter meter;
  for (uint64_t i = 1; i <= 1000; ++i) {
    meter.count(i);
    if (i % 2 == 0) meter.time(i * 1000);
  }
  const StageTotals totals = meter.totals();
  EXPECT_EQ(totals.count, 1000u);
  EXPECT_EQ(totals.bytes, 500'500u);
  EXPECT_EQ(totals.timed, 500u);
  EXPECT_EQ(totals.time_ns, 250'500'000u);
  EXPECT_EQ(totals.buckets[0], 2u);  // 2 and 4 us
  EXPECT_EQ(totals.buckets[1], 6u);  // to 16 us
}

}  // namespace
}  // namespace hfr
