#include "tools/perf_values.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>

#include "tools/number_format.hpp"
#include "tools/perf_numbers.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kCount = 300;

uint64_t bits_at(const std::vector<std::byte>& buffer, size_t size, size_t i) {
  uint64_t bits = 0;
  std::memcpy(&bits, buffer.data() + i * size, size);
  return bits;
}

// Adds two elements and rounds to the type, as the most careless all-reduce would at every hop.
class Arithmetic {
 public:
  Arithmetic(hfr_dtype_t dtype, hfr_op_t op) : format_(number_format(dtype)), op_(op) {}

  uint64_t combine(uint64_t a, uint64_t b) const {
    return format_.is_float() ? encode_float(format_, combine_floats(decode_float(format_, a),
                                                                     decode_float(format_, b)))
                              : truncate(combine_integers(a, b));
  }
  uint64_t finish(uint64_t sum, int num_ranks) const {
    if (op_ != HFR_AVG) return sum;
    if (format_.is_float()) return encode_float(format_, decode_float(format_, sum) / num_ranks);
    return format_.is_signed ? truncate(static_cast<uint64_t>(extend(sum) / num_ranks))
                             : sum / static_cast<uint64_t>(num_ranks);
  }

 private:
  double combine_floats(double a, double b) const {
    switch (op_) {
      case HFR_PROD:
        return a * b;
      case HFR_MIN:
        return std::min(a, b);
      case HFR_MAX:
        return std::max(a, b);
      default:
        return a + b;
    }
  }
  uint64_t combine_integers(uint64_t a, uint64_t b) const {
    const bool less = format_.is_signed ? extend(a) < extend(b) : a < b;
    switch (op_) {
      case HFR_PROD:
        return a * b;
      case HFR_MIN:
        return less ? a : b;
      case HFR_MAX:
        return less ? b : a;
      default:
        return a + b;
    }
  }
  uint64_t truncate(uint64_t value) const {
    return format_.bits == 64 ? value : value & ((uint64_t{1} << format_.bits) - 1);
  }
  int64_t extend(uint64_t value) const {
    const int shift = 64 - format_.bits;
    return static_cast<int64_t>(value << shift) >> shift;
  }

  NumberFormat format_;
  hfr_op_t op_;
};

// The result in one of several orders: ranks in turn, backwards, strided, and as a balanced tree.
std::vector<uint64_t> in_every_order(const Arithmetic& arithmetic,
                                     const std::vector<uint64_t>& inputs) {
  const size_t n = inputs.size();
  std::vector<uint64_t> results;
  for (size_t stride : {size_t{1}, n - 1, size_t{5}, size_t{7}}) {
    if (std::gcd(stride, n) != 1) continue;
    uint64_t sum = inputs[0];
    for (size_t k = 1; k < n; ++k) sum = arithmetic.combine(sum, inputs[k * stride % n]);
    results.push_back(sum);
  }
  std::vector<uint64_t> level = inputs;
  while (level.size() > 1) {
    std::vector<uint64_t> above;
    for (size_t i = 0; i < level.size(); i += 2) {
      above.push_back(i + 1 < level.size() ? arithmetic.combine(level[i], level[i + 1]) : level[i]);
    }
    level = above;
  }
  results.push_back(level[0]);
  for (uint64_t& result : results) result = arithmetic.finish(result, static_cast<int>(n));
  return results;
}

class PerfValues : public testing::TestWithParam<std::tuple<int, int>> {
 protected:
  hfr_dtype_t dtype() const { return static_cast<hfr_dtype_t>(std::get<0>(GetParam())); }
  hfr_op_t op() const { return static_cast<hfr_op_t>(std::get<1>(GetParam())); }
  size_t size() const { return hfr_dtype_size(dtype()); }
};

TEST_P(PerfValues, ExactInEveryOrder) {
  const Arithmetic arithmetic(dtype(), op());
  const NumberFormat format = number_format(dtype());
  const bool rounds = op() == HFR_AVG && format.is_float();
  for (int n : {1, 2, 3, 4, 7, 8, 16, 33, 64, 200}) {
    std::vector<std::vector<std::byte>> inputs;
    for (int rank = 0; rank < n; ++rank)
      inputs.push_back(exact_input(dtype(), op(), rank, n, kCount));
    const std::vector<std::byte> expected = exact_result(dtype(), op(), n, kCount);
    ASSERT_EQ(expected.size(), kCount * size());
    for (size_t i = 0; i < kCount; ++i) {
      std::vector<uint64_t> values;
      for (const auto& input : inputs) values.push_back(bits_at(input, size(), i));
      for (uint64_t result : in_every_order(arithmetic, values)) {
        const uint64_t want = bits_at(expected, size(), i);
        if (rounds) {
          ASSERT_LE(ulp_distance(format, result, want), 2) << n << " ranks, element " << i;
        } else {
          ASSERT_EQ(result, want) << n << " ranks, element " << i;
        }
      }
    }
  }
}

TEST_P(PerfValues, EveryRankCounts) {
  // Leaving a rank out, or taking another's input for it, shows somewhere.
  const Arithmetic arithmetic(dtype(), op());
  constexpr int kRanks = 5;
  std::vector<std::vector<std::byte>> inputs;
  for (int rank = 0; rank < kRanks; ++rank)
    inputs.push_back(exact_input(dtype(), op(), rank, kRanks));
  const std::vector<std::byte> expected = exact_result(dtype(), op(), kRanks);
  for (int missing = 0; missing < kRanks; ++missing) {
    size_t wrong = 0;
    for (size_t i = 0; i < kPatternElements; ++i) {
      uint64_t sum = bits_at(inputs[static_cast<size_t>((missing + 1) % kRanks)], size(), i);
      for (int k = 2; k <= kRanks; ++k) {
        // The neighbour stands in for the missing rank.
        const int rank =
            (missing + k) % kRanks == missing ? (missing + 1) % kRanks : (missing + k) % kRanks;
        sum = arithmetic.combine(sum, bits_at(inputs[static_cast<size_t>(rank)], size(), i));
      }
      const uint64_t result = arithmetic.finish(sum, kRanks);
      wrong += count_wrong(&result, size(), dtype(), op(),
                           {expected.begin() + static_cast<std::ptrdiff_t>(i * size()),
                            expected.begin() + static_cast<std::ptrdiff_t>((i + 1) * size())});
    }
    EXPECT_GT(wrong, kPatternElements / 50) << "rank " << missing;
  }
}

TEST_P(PerfValues, PrefixesAgree) {
  const auto all = exact_input(dtype(), op(), 1, 4);
  const auto some = exact_input(dtype(), op(), 1, 4, 10);
  ASSERT_EQ(some.size(), 10 * size());
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  EXPECT_EQ(all.size(), kPatternElements * size());
}

TEST_P(PerfValues, ValuesVary) {
  const auto input = exact_input(dtype(), op(), 0, 2);
  std::set<uint64_t> values;
  for (size_t i = 0; i < kPatternElements; ++i) values.insert(bits_at(input, size(), i));
  EXPECT_GE(values.size(), 16u);
}

TEST_P(PerfValues, NeutralStaysAsItIs) {
  const Arithmetic arithmetic(dtype(), op());
  const uint64_t value = bits_at(neutral_input(dtype(), op()), size(), 0);
  EXPECT_EQ(arithmetic.finish(arithmetic.combine(value, value), 2), value);
}

INSTANTIATE_TEST_SUITE_P(
    All, PerfValues,
    testing::Combine(testing::Range(0, HFR_NUM_DTYPES), testing::Range(0, HFR_NUM_OPS)),
    [](const auto& tested) {
      return std::string(type_name(static_cast<hfr_dtype_t>(std::get<0>(tested.param)))) + "_" +
             op_name(static_cast<hfr_op_t>(std::get<1>(tested.param)));
    });

TEST(PerfValuesFloats, AreFinite) {
  for (hfr_dtype_t dtype :
       {HFR_FLOAT16, HFR_BFLOAT16, HFR_FLOAT32, HFR_FLOAT64, HFR_FLOAT8_E4M3, HFR_FLOAT8_E5M2}) {
    const NumberFormat format = number_format(dtype);
    for (int op = 0; op < HFR_NUM_OPS; ++op) {
      for (int n : {1, 8, 64}) {
        const auto result = exact_result(dtype, static_cast<hfr_op_t>(op), n);
        for (size_t i = 0; i < kPatternElements; ++i) {
          ASSERT_TRUE(
              std::isfinite(decode_float(format, bits_at(result, hfr_dtype_size(dtype), i))));
        }
      }
    }
  }
}

TEST(PerfValuesBuffers, TileRepeats) {
  const std::vector<std::byte> pattern = {std::byte{1}, std::byte{2}, std::byte{3}};
  for (size_t bytes : {0, 1, 3, 4, 100}) {
    std::vector<std::byte> buffer(bytes + 1, std::byte{9});
    tile(buffer.data(), bytes, pattern);
    for (size_t i = 0; i < bytes; ++i) EXPECT_EQ(buffer[i], pattern[i % 3]);
    EXPECT_EQ(buffer[bytes], std::byte{9});
  }
}

TEST(PerfValuesBuffers, CountsEveryWrongElement) {
  const auto pattern = exact_result(HFR_FLOAT32, HFR_SUM, 4);
  std::vector<std::byte> buffer(3 * pattern.size() - 40);
  tile(buffer.data(), buffer.size(), pattern);
  EXPECT_EQ(count_wrong(buffer.data(), buffer.size(), HFR_FLOAT32, HFR_SUM, pattern), 0u);
  for (size_t at : {size_t{0}, pattern.size() + 4, buffer.size() - 1}) buffer[at] ^= std::byte{1};
  EXPECT_EQ(count_wrong(buffer.data(), buffer.size(), HFR_FLOAT32, HFR_SUM, pattern), 3u);
}

TEST(PerfValuesBuffers, AveragesMayBeTwoUlpOff) {
  const auto pattern = exact_result(HFR_FLOAT32, HFR_AVG, 3, 1);
  uint32_t bits = 0;
  std::memcpy(&bits, pattern.data(), 4);
  for (uint32_t off : {0u, 1u, 2u, 3u}) {
    const uint32_t value = bits + off;
    EXPECT_EQ(count_wrong(&value, 4, HFR_FLOAT32, HFR_AVG, pattern), off > 2 ? 1u : 0u);
    EXPECT_EQ(count_wrong(&value, 4, HFR_FLOAT32, HFR_SUM, pattern), off > 0 ? 1u : 0u);
  }
  const uint32_t nan = 0x7fc00000;
  EXPECT_EQ(count_wrong(&nan, 4, HFR_FLOAT32, HFR_AVG, pattern), 1u);
}

}  // namespace
}  // namespace hfr::tools
