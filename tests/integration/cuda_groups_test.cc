// Groups of GPUs, played by ranks that share GPU 0: what is not in the tests of ordinary GPU ranks,
// which CTest runs with groups too. Groups are set by hand, from the first byte on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "../gpu/ranks.hpp"
#include "cluster.hpp"
#include "cuda_abort.hpp"
#include "values.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

class GpuGroups : public testing::Test {
 protected:
  GpuGroups() {
    setenv("HFREDUCE_GPU_GROUP", "2", 1);
    setenv("HFREDUCE_GPU_GROUP_FROM", "1", 1);
  }
  ~GpuGroups() override {
    unsetenv("HFREDUCE_GPU_GROUP");
    unsetenv("HFREDUCE_GPU_GROUP_FROM");
  }
};

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
    ClusterShape cluster;
    cluster.ranks_per_node = {kRanks};
    cluster.device = HFR_DEVICE_CUDA;
    cluster.chunk_bytes = 65536;
    run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
      use_gpu();
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

// On a machine with NVLink: groups are found, and operations on streams go through them.
TEST(SeveralGpus, NvlinkIsFound) {
  HFR_NEED_GPU();
  int num_gpus = 0;
  HFR_CU(cuDeviceGetCount(&num_gpus));
  const int num_ranks = num_gpus / 2 * 2;
  if (num_ranks < 2) GTEST_SKIP() << "one GPU";
  const std::string log = testing::TempDir() + "hfreduce_groups_" + std::to_string(getpid());
  setenv("HFREDUCE_LOG_LEVEL", "info", 1);
  setenv("HFREDUCE_LOG_FILE", log.c_str(), 1);
  ClusterShape cluster;
  cluster.ranks_per_node = {num_ranks};
  cluster.device = HFR_DEVICE_CUDA;
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    CUdevice device = 0;
    CUcontext context = nullptr;
    HFR_CU(cuDeviceGet(&device, rank));
    HFR_CU(cuDevicePrimaryCtxRetain(&context, device));
    HFR_CU(cuCtxSetCurrent(context));
    GpuStream stream;
    for (size_t count : {size_t{400'001}, size_t{20'000'003}}) {
      DeviceBuffer data(count * 4);
      data.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, num_ranks, count));
      // The averages of what is the same everywhere.
      for (int i = 0; i < 4; ++i) {
        ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32,
                                 i == 0 ? HFR_SUM : HFR_AVG, comm, stream.get(), nullptr),
                  HFR_SUCCESS)
            << hfr_get_last_error(comm);
      }
      stream.synchronize();
      EXPECT_EQ(data.download(), make_expected(HFR_FLOAT32, HFR_SUM, num_ranks, count))
          << count << " rank " << rank;
      EXPECT_TRUE(data.margins_untouched());
    }
  });
  unsetenv("HFREDUCE_LOG_LEVEL");
  unsetenv("HFREDUCE_LOG_FILE");
  std::ifstream file(log);
  const std::string said((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::remove(log.c_str());
  if (said.find("are a group") == std::string::npos) GTEST_SKIP() << "no NVLink: " << said;
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

// A member of rank 0's group is killed while the others' operations have already been handed to the
// GPU: their streams are released, and the error names it. `busy`: in the middle of operations;
// else before one that the others wait in.
class KilledMember : public GpuGroups, public testing::WithParamInterface<bool> {};

TEST_P(KilledMember, ReleasesStreams) {
  constexpr int kRanks = 4;
  constexpr int kVictim = 1;
  const bool busy = GetParam();
  Ranks ranks({.num_ranks = kRanks, .timeout_ms = 3'000},
              [busy](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
                hfr_comm_t comm = comms[0];
                GpuStream stream;
                DeviceBuffer data(size_t{16} << 20);
                say("ready");
                hfr_status_t status = HFR_SUCCESS;
                for (int i = 0; status == HFR_SUCCESS; ++i) {
                  if (rank == kVictim && i == 20) {
                    if (!busy) stream.synchronize();
                    say("enough");
                    while (!busy) pause();
                  }
                  status = hfr_all_reduce(data.data(), data.data(), size_t{4} << 20, HFR_FLOAT32,
                                          HFR_SUM, comm, stream.get(), nullptr);
                }
                const std::string error = hfr_get_last_error(comm);
                stream.synchronize();
                return std::to_string(status) + " " + error;
              });
  if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
  ASSERT_EQ(ranks.line(kVictim), "enough");
  ranks.expect_named_when_killed(kVictim);
}
INSTANTIATE_TEST_SUITE_P(GpuGroups, KilledMember, testing::Bool(),
                         [](const auto& param) { return param.param ? "Busy" : "Idle"; });

}  // namespace
}  // namespace hfr_tests
