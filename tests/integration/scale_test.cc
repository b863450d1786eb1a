// Many ranks on this one machine: 256 as threads, 64 as processes.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "cluster.hpp"
#include "forked_ranks.hpp"

namespace hfr_tests {
namespace {

constexpr uint32_t kTimeoutMs = 120'000;

// A sum that rides in the posts, and one that is cut into chunks.
bool sums_are_right(hfr_comm_t comm, int num_ranks) {
  for (size_t count : {size_t{1}, size_t{50'000}}) {
    std::vector<int32_t> values(count, 1);
    if (hfr_all_reduce(values.data(), values.data(), count, HFR_INT32, HFR_SUM, comm, nullptr,
                       nullptr) != HFR_SUCCESS) {
      return false;
    }
    if (values != std::vector<int32_t>(count, num_ranks)) return false;
  }
  return true;
}

class ManyThreads : public testing::TestWithParam<std::vector<int>> {};

TEST_P(ManyThreads, ComeUpAndAdd) {
  ClusterShape shape{.ranks_per_node = GetParam(), .timeout_ms = kTimeoutMs};
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    EXPECT_TRUE(sums_are_right(comm, shape.num_ranks())) << rank << hfr_get_last_error(comm);
  });
}

INSTANTIATE_TEST_SUITE_P(Scale, ManyThreads,
                         testing::Values(std::vector<int>{256}, std::vector<int>(16, 16)));

TEST(Scale, SixtyFourProcesses) {
  constexpr int kRanks = 64;
  ForkedRanks ranks(kRanks, [](int rank, const hfr_unique_id_t& id, int out) {
    const std::string host_id = "node" + std::to_string(rank / 16);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = host_id.c_str();
    options.timeout_ms = kTimeoutMs;
    hfr_comm_t comm = nullptr;
    const bool ok = hfr_comm_init_rank(&comm, kRanks, &id, rank, &options) == HFR_SUCCESS &&
                    sums_are_right(comm, kRanks) && hfr_comm_finalize(comm) == HFR_SUCCESS;
    const std::string error = ok ? "" : hfr_get_last_error(comm);
    say(out, hfr_comm_destroy(comm) == HFR_SUCCESS ? "end" + error : "end destroy");
  });
  const auto latest = ForkedRanks::Clock::now() + std::chrono::milliseconds(2 * kTimeoutMs);
  for (int rank = 0; rank < kRanks; ++rank) {
    std::string line;
    ASSERT_TRUE(ranks.read_until(rank, "end", latest, line)) << "rank " << rank << " hangs";
    EXPECT_EQ(line, "end") << "rank " << rank;
    EXPECT_EQ(ranks.await_end(rank), 0) << "rank " << rank;
  }
}

}  // namespace
}  // namespace hfr_tests
