// The reduction kernels against a reference: every instruction set, type, operation, number of
// sources, tail, alignment and aliasing.
#include "cpu/reduce.hpp"

#include <gtest/gtest.h>

#include <random>

#include "cpu/copy.hpp"
#include "expected.hpp"

namespace hfr_tests {
namespace {

using hfr::KernelTable;

// kAny: random bits, in which every special value comes up. kFinite: no infinity and no NaN, so
// that the paths for steps without them run. kTiny: denormals and what is just above, where sums of
// a few are ties.
enum class Data { kAny, kFinite, kTiny };

struct Case {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  int num_srcs = 2;
  size_t count = 300;
  int num_dsts = 1;
  size_t shift = 0;      // how far from a cache line everything starts, in elements
  int first_alias = -1;  // destination d is source first_alias - d; -1: none is
  bool streaming = false;
  bool from_memory = false;
  Data data = Data::kFinite;
};

class Kernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  uint64_t random_bits(const Case& c) {
    const size_t bits = 8 * hfr::dtype_size(c.dtype);
    const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    uint64_t value = random_() & mask;
    if (c.data == Data::kAny) return value;
    if (c.data == Data::kTiny) {
      // The sign, the lowest bit of the exponent and the mantissa.
      const uint64_t keep = c.dtype == DType::kFloat64      ? 0x801fffffffffffff
                            : c.dtype == DType::kFloat32    ? 0x80ffffff
                            : c.dtype == DType::kFloat16    ? 0x87ff
                            : c.dtype == DType::kBFloat16   ? 0x80ff
                            : c.dtype == DType::kFloat8E4M3 ? 0x8f
                            : c.dtype == DType::kFloat8E5M2 ? 0x87
                                                            : mask;
      return value & keep;
    }
    // Halving the exponent leaves sums finite.
    const uint64_t top = uint64_t{1} << (bits - 2);
    return is_float(c.dtype) ? value & ~top : value;
  }
  static bool is_float(DType dtype) {
    return is_small_float(dtype) || dtype == DType::kFloat32 || dtype == DType::kFloat64;
  }

  // Reduces, and compares each element of each destination.
  void check(const Case& c) {
    const size_t size = hfr::dtype_size(c.dtype);
    const int divisor = 1 + static_cast<int>(random_() % 5);
    std::vector<std::vector<std::byte>> memory;
    std::vector<const void*> srcs;
    std::vector<Element> elements(c.count, Element{c.dtype, c.op, {}, divisor, {}});
    std::vector<int> scales;
    for (int s = 0; s < c.num_srcs; ++s) {
      memory.emplace_back((c.count + 80) * size);
      std::byte* src = memory.back().data() + (c.shift + static_cast<size_t>(s)) % 7 * size;
      srcs.push_back(src);
      if (c.op == Op::kPremulSum) scales.push_back(static_cast<int>(random_() % 100) - 50);
      for (size_t i = 0; i < c.count; ++i) {
        const uint64_t bits = random_bits(c);
        std::memcpy(src + i * size, &bits, size);
        elements[i].inputs.push_back(bits);
      }
    }
    std::vector<std::vector<std::byte>> results;
    std::vector<void*> dsts;
    std::vector<std::byte*> ends;
    for (int d = 0; d < c.num_dsts; ++d) {
      if (c.first_alias - d >= 0) {
        dsts.push_back(const_cast<void*>(srcs[static_cast<size_t>(c.first_alias - d)]));
        continue;
      }
      results.emplace_back((c.count + 80) * size, std::byte{0x5a});
      std::byte* dst = results.back().data() + (c.shift + static_cast<size_t>(d) * 3) % 9 * size;
      dsts.push_back(dst);
      ends.push_back(dst + c.count * size);
    }
    hfr::ReduceArgs args;
    args.dsts = dsts.data();
    args.num_dsts = c.num_dsts;
    args.srcs = srcs.data();
    args.num_srcs = c.num_srcs;
    args.count = c.count;
    args.divisor = divisor;
    args.streaming = c.streaming;
    args.from_memory = c.from_memory;
    const ScaleArray typed_scales(c.dtype, scales);
    if (c.op == Op::kPremulSum) args.scales = typed_scales.data();
    GetParam()->reduce[static_cast<int>(c.dtype)][static_cast<int>(c.op)](args);
    for (size_t i = 0; i < c.count; ++i) {
      elements[i].scales = scales;
      const uint64_t want = expected_bits(elements[i]);
      for (size_t d = 0; d < dsts.size(); ++d) {
        uint64_t got = 0;
        std::memcpy(&got, static_cast<std::byte*>(dsts[d]) + i * size, size);
        ASSERT_EQ(got, want) << hfr::dtype_name(c.dtype) << " " << hfr::op_name(c.op) << ", "
                             << c.num_srcs << " sources, destination " << d << " of " << c.num_dsts
                             << ", element " << i << " of " << c.count << ", divisor " << divisor
                             << ", shift " << c.shift << ", alias " << c.first_alias
                             << (c.streaming ? ", streaming" : "")
                             << (c.from_memory ? ", from memory" : "") << ", data "
                             << static_cast<int>(c.data);
      }
    }
    for (std::byte* end : ends) ASSERT_EQ(*end, std::byte{0x5a}) << "written past the end";
  }

  std::mt19937_64 random_{42};
};

constexpr Data kEveryData[] = {Data::kAny, Data::kFinite, Data::kTiny};

TEST_P(Kernels, EveryTypeOperationAndNumberOfSources) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (int op = 0; op < hfr::kNumOps; ++op) {
      for (int num_srcs = 1; num_srcs <= 18; ++num_srcs) {
        check({.dtype = static_cast<DType>(dtype),
               .op = static_cast<Op>(op),
               .num_srcs = num_srcs,
               .num_dsts = 1 + num_srcs % 3,
               .shift = static_cast<size_t>(num_srcs),
               .first_alias = num_srcs % 2 == 0 ? num_srcs - 1 : -1,
               .streaming = num_srcs % 4 == 1,
               .from_memory = num_srcs % 8 == 5,
               .data = kEveryData[(num_srcs + op) % 3]});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Kernels, PreMultipliedSums) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (int num_srcs : {1, 2, 3, 8, 18}) {
      for (Data data : kEveryData) {
        check({.dtype = static_cast<DType>(dtype),
               .op = Op::kPremulSum,
               .num_srcs = num_srcs,
               .num_dsts = 1 + num_srcs % 2,
               .streaming = num_srcs == 3,
               .from_memory = true,
               .data = data});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Kernels, TailsAndAlignments) {
  for (int dtype = 0; dtype < hfr::kNumDTypes; ++dtype) {
    for (size_t count :
         {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 257, 513}) {
      for (size_t shift = 0; shift < 4; ++shift) {
        const auto type = static_cast<DType>(dtype);
        check({.dtype = type, .count = count, .shift = shift, .first_alias = shift == 3 ? 1 : -1});
        check({.dtype = type,
               .num_srcs = 3,
               .count = count,
               .num_dsts = 2,
               .shift = shift,
               .streaming = true,
               .from_memory = count % 2 == 1});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Kernels, EverySourceAsDestination) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kFloat8E4M3,
                      DType::kFloat8E5M2, DType::kInt8, DType::kInt64}) {
    for (int num_srcs : {1, 2, 3, 5}) {
      for (int alias = 0; alias < num_srcs; ++alias) {
        for (bool streaming : {false, true}) {
          check({.dtype = dtype,
                 .num_srcs = num_srcs,
                 .num_dsts = 1 + alias,
                 .shift = static_cast<size_t>(alias),
                 .first_alias = alias,
                 .streaming = streaming,
                 .from_memory = alias % 2 == 0,
                 .data = Data::kAny});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Kernels, ManyDestinationsAndSources) {
  for (int num_dsts = 1; num_dsts <= 16; ++num_dsts) {
    check({.num_srcs = 16, .num_dsts = num_dsts, .shift = 1, .first_alias = 15});
    check({.dtype = DType::kBFloat16,
           .op = Op::kMax,
           .num_dsts = num_dsts,
           .streaming = true,
           .data = Data::kAny});
  }
  check({.dtype = DType::kFloat8E4M3, .num_srcs = 100});
}

INSTANTIATE_TEST_SUITE_P(Isa, Kernels, testing::ValuesIn(hfr::supported_kernel_tables()),
                         [](const auto& param) { return std::string(param.param->name); });

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
