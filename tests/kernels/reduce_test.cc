// The reduction kernels against a reference: every instruction set, type, operation, number of
// sources, tail, alignment and aliasing.
#include "cpu/reduce.hpp"

#include <gtest/gtest.h>

#include <random>

#include "cpu/copy.hpp"
#include "cpu/small_float.hpp"
#include "reference.hpp"

namespace hfr_tests {
namespace {

using hfr::DType;
using hfr::KernelTable;
using hfr::Op;

bool is_small_float(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat8E4M3 ||
         dtype == DType::kFloat8E5M2;
}

// One element of the result, in the order and precision that reduce.hpp promises.
template <typename A>
A fold(Op op, const std::vector<A>& values, int divisor) {
  A result = values[0];
  for (size_t i = 1; i < values.size(); ++i) {
    A x = values[i];
    using U =
        std::conditional_t<std::is_integral_v<A>, std::make_unsigned<A>, std::type_identity<A>>;
    using W = typename U::type;
    switch (op) {
      case Op::kSum:
      case Op::kAvg:
        result = static_cast<A>(static_cast<W>(static_cast<W>(result) + static_cast<W>(x)));
        break;
      case Op::kProd:
        if constexpr (sizeof(A) < 4) {
          result = static_cast<A>(static_cast<uint32_t>(result) * static_cast<uint32_t>(x));
        } else {
          result = static_cast<A>(static_cast<W>(result) * static_cast<W>(x));
        }
        break;
      case Op::kMin:
        if (x != x || result != result) {
          result = x != x ? x : result;
        } else {
          result = std::min(result, x);
        }
        break;
      case Op::kMax:
        if (x != x || result != result) {
          result = x != x ? x : result;
        } else {
          result = std::max(result, x);
        }
        break;
    }
  }
  if (op == Op::kAvg) {
    if constexpr (std::is_integral_v<A>) {
      result = static_cast<A>(result / static_cast<A>(divisor));
    } else {
      result /= static_cast<A>(divisor);
    }
  }
  return result;
}

uint64_t expected_bits(DType dtype, Op op, const std::vector<uint64_t>& inputs, int divisor) {
  auto run = [&](auto zero) -> uint64_t {
    using T = decltype(zero);
    std::vector<T> values;
    for (uint64_t bits : inputs) {
      T value;
      std::memcpy(&value, &bits, sizeof(T));
      values.push_back(value);
    }
    T result = fold<T>(op, values, divisor);
    uint64_t bits = 0;
    std::memcpy(&bits, &result, sizeof(T));
    return bits;
  };
  switch (dtype) {
    case DType::kInt8:
      return run(int8_t{});
    case DType::kUint8:
      return run(uint8_t{});
    case DType::kInt16:
      return run(int16_t{});
    case DType::kUint16:
      return run(uint16_t{});
    case DType::kInt32:
      return run(int32_t{});
    case DType::kUint32:
      return run(uint32_t{});
    case DType::kInt64:
      return run(int64_t{});
    case DType::kUint64:
      return run(uint64_t{});
    case DType::kFloat32:
      return run(float{});
    case DType::kFloat64:
      return run(double{});
    default:
      break;
  }
  std::vector<float> values;
  for (uint64_t bits : inputs)
    values.push_back(static_cast<float>(decode(dtype, static_cast<uint32_t>(bits))));
  return encode(dtype, fold<float>(op, values, divisor));
}

bool is_nan(DType dtype, uint64_t bits) {
  if (dtype == DType::kFloat32) {
    float value;
    std::memcpy(&value, &bits, 4);
    return std::isnan(value);
  }
  if (dtype == DType::kFloat64) {
    double value;
    std::memcpy(&value, &bits, 8);
    return std::isnan(value);
  }
  return is_small_float(dtype) && std::isnan(decode(dtype, static_cast<uint32_t>(bits)));
}

class Kernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  // Fills sources with random bits (every special value comes up), reduces, and compares each
  // element.
  void check(DType dtype, Op op, int num_srcs, size_t count, int num_dsts, size_t shift,
             bool in_place, bool streaming) {
    const size_t size = hfr::dtype_size(dtype);
    const int divisor = 1 + static_cast<int>(random_() % 5);
    std::vector<std::vector<std::byte>> memory;
    std::vector<const void*> srcs;
    std::vector<void*> dsts;
    for (int s = 0; s < num_srcs; ++s) {
      memory.emplace_back((count + 80) * size);
      for (std::byte& b : memory.back()) b = static_cast<std::byte>(random_());
      srcs.push_back(memory.back().data() + (shift + static_cast<size_t>(s)) % 7 * size);
    }
    std::vector<std::vector<uint64_t>> inputs(count,
                                              std::vector<uint64_t>(static_cast<size_t>(num_srcs)));
    for (size_t i = 0; i < count; ++i) {
      for (size_t s = 0; s < static_cast<size_t>(num_srcs); ++s) {
        std::memcpy(&inputs[i][s], static_cast<const std::byte*>(srcs[s]) + i * size, size);
      }
    }
    std::vector<std::vector<std::byte>> results;
    for (int d = 0; d < num_dsts; ++d) {
      if (in_place && d < num_srcs) {
        dsts.push_back(const_cast<void*>(srcs[static_cast<size_t>(num_srcs - 1 - d)]));
        continue;
      }
      results.emplace_back((count + 80) * size, std::byte{0x5a});
      dsts.push_back(results.back().data() + (shift + static_cast<size_t>(d) * 3) % 9 * size);
    }
    hfr::ReduceArgs args;
    args.dsts = dsts.data();
    args.num_dsts = num_dsts;
    args.srcs = srcs.data();
    args.num_srcs = num_srcs;
    args.count = count;
    args.divisor = divisor;
    args.streaming = streaming;
    GetParam()->reduce[static_cast<int>(dtype)][static_cast<int>(op)](args);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t want = expected_bits(dtype, op, inputs[i], divisor);
      for (void* dst : dsts) {
        uint64_t got = 0;
        std::memcpy(&got, static_cast<std::byte*>(dst) + i * size, size);
        if (is_nan(dtype, want) && is_nan(dtype, got)) continue;
        ASSERT_EQ(got, want) << hfr::dtype_name(dtype) << " " << hfr::op_name(op) << ", "
                             << num_srcs << " sources, " << num_dsts << " destinations, element "
                             << i << " of " << count << ", divisor " << divisor
                             << (in_place ? ", in place" : "") << (streaming ? ", streaming" : "");
      }
    }
    // Nothing past the end was written.
    for (size_t r = 0; r < results.size() && !in_place; ++r) {
      auto* end = static_cast<std::byte*>(dsts[r]) + count * size;
      ASSERT_EQ(*end, std::byte{0x5a});
    }
  }

  std::mt19937 random_{42};
};

TEST_P(Kernels, EveryTypeOperationAndNumberOfSources) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (int op = 0; op < hfr::kNumOps; ++op) {
      for (int num_srcs = 1; num_srcs <= 18; ++num_srcs) {
        check(static_cast<DType>(dtype), static_cast<Op>(op), num_srcs, 70, 1 + num_srcs % 3,
              static_cast<size_t>(num_srcs), num_srcs % 2 == 0, num_srcs % 4 == 1);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Kernels, TailsAlignmentsAndBlocks) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kFloat8E4M3,
                      DType::kFloat8E5M2, DType::kInt8, DType::kFloat64}) {
    for (size_t count :
         {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 513, 1023, 1025, 4097}) {
      for (size_t shift = 0; shift < 4; ++shift) {
        check(dtype, Op::kSum, 2, count, 1, shift, shift == 3, false);
        check(dtype, Op::kSum, 3, count, 2, shift, false, true);
        check(dtype, Op::kAvg, 2, count, 1, shift, true, shift == 2);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Kernels, ManyDestinations) {
  for (int num_dsts = 1; num_dsts <= 16; ++num_dsts) {
    check(DType::kFloat32, Op::kSum, 16, 300, num_dsts, 1, true, false);
    check(DType::kBFloat16, Op::kMax, 2, 300, num_dsts, 0, false, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Kernels, testing::ValuesIn(hfr::supported_kernel_tables()),
                         [](const auto& param) { return std::string(param.param->name); });

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

TEST(Dispatch, ByName) {
  auto tables = hfr::supported_kernel_tables();
  ASSERT_FALSE(tables.empty());
  EXPECT_STREQ(tables[0]->name, "scalar");
  for (const KernelTable* table : tables) {
    auto found = hfr::select_kernel_table(table->name);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(*found, table);
  }
  EXPECT_EQ(*hfr::select_kernel_table("auto"), tables.back());
  EXPECT_NE(hfr::select_kernel_table("mmx").status().message().find("scalar"), std::string::npos);
}

TEST(Copy, SizesAndAlignments) {
  std::vector<std::byte> from(70'000);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7);
  for (bool streaming : {false, true}) {
    for (size_t bytes : {0, 1, 63, 64, 65, 4095, 4096, 4097, 65'000}) {
      for (size_t shift : {0, 1, 17, 63}) {
        std::vector<std::byte> to(70'100, std::byte{0x11});
        hfr::copy_bytes(to.data() + shift, from.data() + shift % 5, bytes, streaming);
        ASSERT_TRUE(std::equal(to.begin() + static_cast<std::ptrdiff_t>(shift),
                               to.begin() + static_cast<std::ptrdiff_t>(shift + bytes),
                               from.begin() + static_cast<std::ptrdiff_t>(shift % 5)));
        ASSERT_EQ(to[shift + bytes], std::byte{0x11});
      }
    }
  }
}

}  // namespace
}  // namespace hfr_tests
