// Numbers: every value of the small floats through the conversions and the kernels, ties,
// denormals, NaN payloads, and what the application's floating-point mode must not change.
#include <gtest/gtest.h>

#include <cfenv>
#include <functional>
#include <random>

#include "cpu/reduce.hpp"
#include "cpu/small_float.hpp"
#include "expected.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace hfr_tests {
namespace {

using hfr::KernelTable;

template <typename T>
void expect_all_codes(DType dtype, uint32_t num_codes) {
  for (uint32_t code = 0; code < num_codes; ++code) {
    T value{static_cast<decltype(T::bits)>(code)};
    const double want = decode(dtype, code);
    const float got = hfr::load_float(value);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << code;
      ASSERT_TRUE(std::isnan(decode(dtype, hfr::store_float<T>(got).bits))) << code;
      continue;
    }
    ASSERT_EQ(static_cast<double>(got), want) << code;
    ASSERT_EQ(std::signbit(got), std::signbit(want)) << code;
    ASSERT_EQ(hfr::store_float<T>(got).bits, value.bits) << code;
    // Half-way to the next code and either side of it: ties go to even.
    const double next = decode(dtype, code + 1);
    if (!std::isfinite(want) || !std::isfinite(next) || std::signbit(want) != std::signbit(next))
      continue;
    const auto middle = static_cast<float>((want + next) / 2);
    for (float x : {middle, std::nextafter(middle, 0.0f),
                    std::nextafter(middle, INFINITY * (want < 0 ? -1 : 1))}) {
      ASSERT_EQ(hfr::store_float<T>(x).bits, encode(dtype, static_cast<double>(x)))
          << code << " " << x;
    }
  }
}

TEST(SmallFloats, EveryCodeOfFloat16) { expect_all_codes<hfr::Float16>(DType::kFloat16, 65536); }
TEST(SmallFloats, EveryCodeOfBFloat16) { expect_all_codes<hfr::BFloat16>(DType::kBFloat16, 65536); }
TEST(SmallFloats, EveryCodeOfFloat8E4M3) {
  expect_all_codes<hfr::Float8E4M3>(DType::kFloat8E4M3, 256);
}
TEST(SmallFloats, EveryCodeOfFloat8E5M2) {
  expect_all_codes<hfr::Float8E5M2>(DType::kFloat8E5M2, 256);
}

TEST(SmallFloats, RandomFloats) {
  std::mt19937 random(5);
  for (int i = 0; i < 200'000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, 4);
    if (std::isnan(value)) continue;
    const auto exact = static_cast<double>(value);
    ASSERT_EQ(hfr::store_float<hfr::Float16>(value).bits, encode(DType::kFloat16, exact)) << value;
    ASSERT_EQ(hfr::store_float<hfr::BFloat16>(value).bits, encode(DType::kBFloat16, exact))
        << value;
    ASSERT_EQ(hfr::store_float<hfr::Float8E4M3>(value).bits, encode(DType::kFloat8E4M3, exact))
        << value;
    ASSERT_EQ(hfr::store_float<hfr::Float8E5M2>(value).bits, encode(DType::kFloat8E5M2, exact))
        << value;
  }
}

class KernelValues : public testing::TestWithParam<const KernelTable*> {
 protected:
  // Element i of the result is that of elements i of all sources, given as bits.
  void check(
      DType dtype, Op op, const std::vector<std::vector<uint64_t>>& values, int divisor = 1,
      const std::function<void(const std::function<void()>&)>& around = [](auto&& reduce) {
        reduce();
      }) {
    const size_t size = hfr::dtype_size(dtype);
    const size_t count = values[0].size();
    std::vector<std::vector<std::byte>> memory(values.size() + 1,
                                               std::vector<std::byte>(count * size));
    std::vector<const void*> srcs;
    for (size_t s = 0; s < values.size(); ++s) {
      for (size_t i = 0; i < count; ++i) {
        std::memcpy(memory[s].data() + i * size, &values[s][i], size);
      }
      srcs.push_back(memory[s].data());
    }
    void* dst = memory.back().data();
    hfr::ReduceArgs args;
    args.dsts = &dst;
    args.num_dsts = 1;
    args.srcs = srcs.data();
    args.num_srcs = static_cast<int>(srcs.size());
    args.count = count;
    args.divisor = divisor;
    around([&] { GetParam()->reduce[static_cast<int>(dtype)][static_cast<int>(op)](args); });
    for (size_t i = 0; i < count; ++i) {
      Element element{dtype, op, {}, divisor, {}};
      for (const auto& source : values) element.inputs.push_back(source[i]);
      const uint64_t want = expected_bits(element);
      uint64_t got = 0;
      std::memcpy(&got, memory.back().data() + i * size, size);
      ASSERT_EQ(got, want) << hfr::dtype_name(dtype) << " " << hfr::op_name(op) << " of "
                           << element.inputs[0] << " and " << element.inputs.back();
    }
  }
};

// Whole steps with and without infinities and NaN: one operand stays the same for 256 elements.
TEST_P(KernelValues, EveryPairOfFloat8) {
  std::vector<std::vector<uint64_t>> pairs(2);
  for (uint64_t i = 0; i < 65536; ++i) {
    pairs[0].push_back(i >> 8);
    pairs[1].push_back(i & 0xff);
  }
  for (DType dtype : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    for (Op op : {Op::kSum, Op::kProd, Op::kMin, Op::kMax}) check(dtype, op, pairs);
    check(dtype, Op::kAvg, pairs, 3);
  }
}

// Alone: nothing may change. With others: rounding, overflow, NaN of every payload.
TEST_P(KernelValues, EveryValueOf16BitFloats) {
  std::vector<uint64_t> codes;
  for (uint64_t i = 0; i < 65536; ++i) codes.push_back(i);
  for (DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    check(dtype, Op::kSum, {codes});
    check(dtype, Op::kAvg, {codes}, 3);
    // Zero, smallest denormal, one, largest finite, infinity, NaN.
    const std::vector<uint64_t> others =
        dtype == DType::kFloat16
            ? std::vector<uint64_t>{0x8000, 0x0001, 0x3c00, 0x7bff, 0xfc00, 0x7d01}
            : std::vector<uint64_t>{0x8000, 0x0001, 0x3f80, 0x7f7f, 0xff80, 0x7f81};
    for (uint64_t other : others) {
      check(dtype, Op::kSum, {codes, std::vector<uint64_t>(codes.size(), other)});
    }
    check(dtype, Op::kMin, {codes, std::vector<uint64_t>(codes.size(), others[2])});
    check(dtype, Op::kMax, {std::vector<uint64_t>(codes.size(), others[2]), codes});
  }
}

// Sums that lie half-way between two codes: each code plus half of its last bit, built from the two
// codes beside it as (a + b) / 2.
TEST_P(KernelValues, Ties) {
  for (DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    std::vector<std::vector<uint64_t>> pairs(2);
    const uint64_t end = uint64_t{1} << (8 * hfr::dtype_size(dtype));
    for (uint64_t code = 0; code + 1 < end; ++code) {
      if (is_nan(dtype, code) || is_nan(dtype, code + 1)) continue;
      pairs[0].push_back(code);
      pairs[1].push_back(code + 1);
    }
    check(dtype, Op::kAvg, pairs, 2);
  }
}

// The application's rounding mode, and what it does with denormals where the processor has that.
struct Mode {
  int rounding;
  unsigned denormals;  // bits of x86's MXCSR: 0x8000 results to zero, 0x0040 operands
};
class OtherFloatMode {
 public:
  explicit OtherFloatMode(Mode mode) : mode_(mode) {
    std::fesetround(mode.rounding);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | mode.denormals);
#endif
  }
  ~OtherFloatMode() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() & ~mode_.denormals);
#endif
    std::fesetround(FE_TONEAREST);
  }
  bool is_set() const {
#if defined(__x86_64__)
    if ((_mm_getcsr() & 0x8040u) != mode_.denormals) return false;
#endif
    return std::fegetround() == mode_.rounding;
  }

 private:
  const Mode mode_;
};

TEST_P(KernelValues, AnyFloatingPointMode) {
  std::mt19937 random(3);
  for (const Mode mode :
       {Mode{FE_UPWARD, 0x8040}, Mode{FE_UPWARD, 0}, Mode{FE_DOWNWARD, 0}, Mode{FE_TOWARDZERO, 0},
        Mode{FE_TONEAREST, 0x8000}, Mode{FE_TONEAREST, 0x0040}, Mode{FE_TONEAREST, 0}}) {
    for (auto [dtype, mask] :
         {std::pair{DType::kFloat32, 0x80ffffffu},  // denormals and near them
          std::pair{DType::kFloat16, 0x87ffu}, std::pair{DType::kBFloat16, 0x80ffu},
          std::pair{DType::kFloat8E4M3, 0x8fu}}) {
      std::vector<std::vector<uint64_t>> sources(3);
      for (int i = 0; i < 1000; ++i) {
        for (auto& source : sources) source.push_back(random() & mask);
      }
      check(dtype, Op::kSum, sources, 1, [mode](auto&& reduce) {
        const OtherFloatMode set(mode);
        reduce();
        EXPECT_TRUE(set.is_set()) << "the kernel must leave the mode as it was";
      });
    }
  }
}

#if defined(__x86_64__)
// An application may turn floating-point exceptions into signals: ordinary sums raise none.
TEST_P(KernelValues, NoExceptionByItself) {
  const unsigned before = _mm_getcsr();
  for (DType dtype : {DType::kFloat32, DType::kFloat64, DType::kFloat16}) {
    const std::vector<std::vector<uint64_t>> zeros(2, std::vector<uint64_t>(1000));
    check(dtype, Op::kSum, zeros, 1, [](auto&& reduce) {
      _mm_setcsr(0x1f80);
      reduce();
      EXPECT_EQ(_mm_getcsr() & 0x3fu, 0u) << "flags were raised";
    });
  }
  _mm_setcsr(before);
}
#endif

INSTANTIATE_TEST_SUITE_P(Isa, KernelValues, testing::ValuesIn(hfr::supported_kernel_tables()),
                         [](const auto& param) { return std::string(param.param->name); });

}  // namespace
}  // namespace hfr_tests
