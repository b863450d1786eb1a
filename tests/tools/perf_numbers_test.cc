#include "tools/perf_numbers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace hfr::tools {
namespace {

using testing::ElementsAre;

TEST(PerfNumbers, NamesGoBothWays) {
  for (int type = 0; type < HFR_NUM_DTYPES; ++type) {
    auto dtype = static_cast<hfr_dtype_t>(type);
    EXPECT_EQ(parse_type(type_name(dtype)), dtype);
  }
  for (int op = 0; op < HFR_NUM_OPS; ++op)
    EXPECT_EQ(parse_op(op_name(static_cast<hfr_op_t>(op))), static_cast<hfr_op_t>(op));
  EXPECT_EQ(parse_type("fp16"), HFR_FLOAT16);
  EXPECT_EQ(parse_type("bf16"), HFR_BFLOAT16);
  EXPECT_EQ(parse_type("float32"), HFR_FLOAT32);
  EXPECT_FALSE(parse_type("int128").has_value());
  EXPECT_FALSE(parse_op("xor").has_value());
}

TEST(PerfNumbers, SizesByFactor) {
  EXPECT_THAT(size_sequence(8, 128, 1, 2), ElementsAre(8, 16, 32, 64, 128));
  EXPECT_THAT(size_sequence(8, 127, 1, 4), ElementsAre(8, 32));
  EXPECT_THAT(size_sequence(100, 350, 1, 1.5), ElementsAre(100, 150, 225, 337));
}

TEST(PerfNumbers, SizesByStep) {
  EXPECT_THAT(size_sequence(10, 30, 10, 1), ElementsAre(10, 20, 30));
  EXPECT_THAT(size_sequence(10, 29, 10, 0), ElementsAre(10, 20));
  EXPECT_THAT(size_sequence(32, 32, 1 << 20, 1), ElementsAre(32));
}

TEST(PerfNumbers, SizesEnd) {
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  EXPECT_THAT(size_sequence(0, 100, 1, 2), ElementsAre(0));
  EXPECT_THAT(size_sequence(5, 4, 1, 2), ElementsAre());
  EXPECT_THAT(size_sequence(kMost - 1, kMost, 10, 1), ElementsAre(kMost - 1));
  EXPECT_EQ(size_sequence(1, kMost, 1, 2).size(), 64u);
}

TEST(PerfNumbers, Bandwidths) {
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(1'000'000'000, 0.5), 2);
  EXPECT_DOUBLE_EQ(bus_bandwidth(1'000'000'000, 0.5, 2), 2);
  EXPECT_DOUBLE_EQ(bus_bandwidth(1'000'000'000, 0.5, 8), 3.5);
  EXPECT_DOUBLE_EQ(bus_bandwidth(1'000'000'000, 0.5, 1), 0);
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(8, 0), 0);
}

}  // namespace
}  // namespace hfr::tools
