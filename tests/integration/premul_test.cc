// Pre-multiplied sums: every rank's own scalar on every path, types that accumulate in FP32 and in
// themselves, and what must be refused.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cluster.hpp"
#include "hfreduce/hfreduce.hpp"

namespace hfr_tests {
namespace {

// Small whole numbers and halves: exact in every type and in any order of adding.
template <typename A>
A scalar_of(int rank) {
  const auto value = static_cast<A>(rank % 3 + 1);
  return std::is_integral_v<A> || rank % 2 == 0 ? value : value / static_cast<A>(2);
}
int element(int rank, size_t i) {
  return static_cast<int>((i + static_cast<size_t>(rank)) % 4) * 2;
}

// bfloat16 is the upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;
};
BFloat16 encode(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return {static_cast<uint16_t>(bits >> 16)};
}
float decode(BFloat16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// T: how elements are stored. A: the scalar's type.
template <typename T, typename A>
void check(hfr_comm_t comm, hfr_dtype_t dtype, int rank, int num_ranks, size_t count,
           bool in_place) {
  const A scalar = scalar_of<A>(rank);
  hfr_op_t op;
  ASSERT_EQ(hfr_op_create_premul_sum(&op, &scalar, dtype, comm), HFR_SUCCESS)
      << hfr_get_last_error(comm);
  const auto store = [](A value) {
    if constexpr (std::is_same_v<T, A>) {
      return value;
    } else {
      return encode(value);
    }
  };
  const auto load = [](T value) {
    if constexpr (std::is_same_v<T, A>) {
      return value;
    } else {
      return decode(value);
    }
  };
  std::vector<T> in(count);
  for (size_t i = 0; i < count; ++i) in[i] = store(static_cast<A>(element(rank, i)));
  std::vector<T> out(count);
  T* recv = in_place ? in.data() : out.data();
  ASSERT_EQ(hfr_all_reduce(in.data(), recv, count, dtype, op, comm, nullptr, nullptr), HFR_SUCCESS)
      << hfr_get_last_error(comm);
  for (size_t i = 0; i < count; ++i) {
    A want{};
    for (int r = 0; r < num_ranks; ++r) {
      want = static_cast<A>(want + static_cast<A>(element(r, i)) * scalar_of<A>(r));
    }
    ASSERT_EQ(load(recv[i]), want) << "dtype " << dtype << ", element " << i << " of " << count
                                   << ", rank " << rank << ", in place " << in_place;
  }
  ASSERT_EQ(hfr_op_destroy(op, comm), HFR_SUCCESS) << hfr_get_last_error(comm);
}

class PremulSum : public testing::TestWithParam<std::vector<int>> {};

TEST_P(PremulSum, EveryRankScalesItsOwn) {
  ClusterShape shape;
  shape.ranks_per_node = GetParam();
  shape.chunk_bytes = 4096;
  const int n = shape.num_ranks();
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    for (size_t count : {0, 1, 7, 1031, 40'000}) {
      for (bool in_place : {false, true}) {
        check<float, float>(comm, HFR_FLOAT32, rank, n, count, in_place);
        check<BFloat16, float>(comm, HFR_BFLOAT16, rank, n, count, in_place);
        check<double, double>(comm, HFR_FLOAT64, rank, n, count, in_place);
        check<uint8_t, uint8_t>(comm, HFR_UINT8, rank, n, count, in_place);
        check<int64_t, int64_t>(comm, HFR_INT64, rank, n, count, in_place);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, PremulSum,
                         testing::Values(std::vector<int>{1}, std::vector<int>{4},
                                         std::vector<int>{20},  // more than a kernel takes sources
                                         std::vector<int>{1, 1}, std::vector<int>{2, 2},
                                         std::vector<int>{1, 1, 1, 1, 1},
                                         std::vector<int>{3, 1, 2}),
                         [](const auto& param) {
                           std::string name = "ranks";
                           for (int ranks : param.param) name += "_" + std::to_string(ranks);
                           return name;
                         });

TEST(PremulSumInCpp, OwnsTheOperation) {
  run_cluster({.ranks_per_node = {1}}, [](int, hfr_comm_t comm) {
    float value = 3;
    {
      hfreduce::PremulSum half(comm, 0.5f, HFR_FLOAT32);
      hfreduce::PremulSum moved = std::move(half);
      ASSERT_EQ(hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, moved, comm, nullptr, nullptr),
                HFR_SUCCESS);
    }
    EXPECT_EQ(value, 1.5f);
    EXPECT_THROW(hfreduce::PremulSum(comm, 1.0, HFR_FLOAT32), hfreduce::Error);
  });
}

TEST(PremulSumRefuses, WhatIsWrong) {
  run_cluster({.ranks_per_node = {1}}, [](int, hfr_comm_t comm) {
    const auto expect_refused = [&](hfr_status_t status, const char* words) {
      EXPECT_EQ(status, HFR_INVALID_ARGUMENT);
      EXPECT_NE(std::string(hfr_get_last_error(comm)).find(words), std::string::npos)
          << hfr_get_last_error(comm);
    };
    const float scalar = 2;
    hfr_op_t op;
    expect_refused(hfr_op_create_premul_sum(nullptr, &scalar, HFR_FLOAT32, comm), "op is NULL");
    expect_refused(hfr_op_create_premul_sum(&op, nullptr, HFR_FLOAT32, comm), "scalar is NULL");
    expect_refused(hfr_op_create_premul_sum(&op, &scalar, static_cast<hfr_dtype_t>(99), comm),
                   "no hfr_dtype_t");
    ASSERT_EQ(hfr_op_create_premul_sum(&op, &scalar, HFR_FLOAT16, comm), HFR_SUCCESS);
    float value = 1;
    expect_refused(hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, op, comm, nullptr, nullptr),
                   "created for float16");
    ASSERT_EQ(hfr_op_destroy(op, comm), HFR_SUCCESS);
    expect_refused(hfr_all_reduce(&value, &value, 1, HFR_FLOAT16, op, comm, nullptr, nullptr),
                   "no hfr_op_t, nor one that was created");
    expect_refused(hfr_op_destroy(op, comm), "is none that was created");
    expect_refused(hfr_op_destroy(HFR_SUM, comm), "is none that was created");
    std::vector<hfr_op_t> ops(64);
    for (hfr_op_t& each : ops) {
      ASSERT_EQ(hfr_op_create_premul_sum(&each, &scalar, HFR_FLOAT32, comm), HFR_SUCCESS);
    }
    expect_refused(hfr_op_create_premul_sum(&op, &scalar, HFR_FLOAT32, comm), "destroy one");
  });
}

// A pre-multiplied sum on one rank and a plain one on the other.
TEST(PremulSumRefuses, MixingWithAPlainSum) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    const float scalar = 2;
    hfr_op_t op = HFR_SUM;
    if (rank == 0) {
      ASSERT_EQ(hfr_op_create_premul_sum(&op, &scalar, HFR_FLOAT32, comm), HFR_SUCCESS);
    }
    float value = 1;
    EXPECT_EQ(hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, op, comm, nullptr, nullptr),
              HFR_MISMATCH);
    EXPECT_NE(std::string(hfr_get_last_error(comm)).find("premul_sum"), std::string::npos)
        << hfr_get_last_error(comm);
  });
}

}  // namespace
}  // namespace hfr_tests
