// Groups of GPUs, played by ranks that share GPU 0 where there is no other: what is not in the
// tests of ordinary GPU ranks, which CTest runs with groups too. Groups are set by hand, from the
// first byte on.
#include "cuda_groups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "cuda_abort.hpp"
#include "gpu_cluster.hpp"
#include "values.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

// Sums that round: every rank gets the same bits, every time, and they are within two roundings of
// the exact sum, one of the group and one of the node, of at most 1/256 each.
TEST_F(GpuGroups, TheSameBitsEveryTime) {
  HFR_NEED_GPU();
  constexpr size_t kCount = 300'007;
  constexpr int kRanks = 4;
  std::vector<std::vector<std::byte>> inputs(kRanks);
  std::vector<double> exact(kCount);
  std::mt19937 random(3);
  for (auto& input : inputs) {
    input.resize(kCount * 2);
    for (size_t i = 0; i < kCount; ++i) {
      const float value = std::uniform_real_distribution<float>(0.5F, 2.0F)(random);
      uint32_t bits = 0;
      std::memcpy(&bits, &value, 4);
      bits &= 0xffff0000u;
      put(input, 2, i, bits >> 16);
      float rounded = 0;
      std::memcpy(&rounded, &bits, 4);
      exact[i] += static_cast<double>(rounded);
    }
  }
  std::vector<std::vector<std::byte>> results;
  std::mutex mutex;
  for (int run = 0; run < 2; ++run) {
    ClusterShape cluster = gpu_shape({kRanks});
    cluster.chunk_bytes = 65536;
    run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
      DeviceBuffer data(kCount * 2);
      data.upload(inputs[static_cast<size_t>(rank)]);
      ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), kCount, HFR_BFLOAT16, HFR_SUM, comm,
                               nullptr, nullptr),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
      std::lock_guard lock(mutex);
      results.push_back(data.download());
    });
  }
  ASSERT_EQ(results.size(), size_t{2 * kRanks});
  for (const auto& result : results) ASSERT_EQ(result, results[0]);
  for (size_t i = 0; i < kCount; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, results[0].data() + 2 * i, 2);
    bits <<= 16;
    float value = 0;
    std::memcpy(&value, &bits, 4);
    ASSERT_NEAR(value, exact[i], exact[i] / 128) << "element " << i;
  }
}

TEST_F(SeveralGpus, ThreadsAreJoinedByHandOnly) {
  HFR_NEED_GPU();
  const int num_ranks = num_gpus() / 2 * 2;
  if (num_ranks < 2) GTEST_SKIP() << "one GPU, or HFREDUCE_TEST_GPUS is not set";
  int reach = 0;
  HFR_CU(cuDeviceCanAccessPeer(&reach, 0, 1));
  if (reach == 0) GTEST_SKIP() << "GPUs do not reach each other";
  for (const bool by_hand : {false, true}) {
    if (by_hand) setenv("HFREDUCE_GPU_GROUP", "2", 1);
    run_cluster(gpu_shape({num_ranks}), [&](int rank, hfr_comm_t comm) {
      EXPECT_EQ(sum_and_average(rank, num_ranks, comm), "") << "rank " << rank;
    });
    EXPECT_EQ(groups_were_made(), by_hand);
  }
}

TEST_F(GpuGroups, WhatDoesNotDivideIsAnError) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comms[3];
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_CUDA;
  EXPECT_EQ(hfr_comm_init_all(comms, 3, &options), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(hfr_get_last_error(nullptr), HasSubstr("3 GPU ranks"));
}

TEST_F(GpuGroups, AbortReleasesStreams) {
  HFR_NEED_GPU();
  expect_abort_releases_streams(4);
}

}  // namespace
}  // namespace hfr_tests
