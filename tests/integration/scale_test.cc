// Many ranks on this one machine: 256 as threads, 64 as processes.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cluster.hpp"

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
  // The ranks' ids come through a pipe from rank 0, which hosts the rendezvous.
  int ids[2];
  ASSERT_EQ(pipe(ids), 0);
  std::vector<pid_t> children;
  for (int rank = 0; rank < kRanks; ++rank) {
    pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid > 0) {
      children.push_back(pid);
      continue;
    }
    hfr_unique_id_t id;
    bool ok = true;
    if (rank == 0) {
      ok = hfr_get_unique_id(&id) == HFR_SUCCESS;
      for (int other = 1; ok && other < kRanks; ++other) {
        ok = write(ids[1], &id, sizeof(id)) == sizeof(id);
      }
    } else {
      ok = read(ids[0], &id, sizeof(id)) == sizeof(id);
    }
    const std::string host_id = "node" + std::to_string(rank / 16);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = host_id.c_str();
    options.timeout_ms = kTimeoutMs;
    hfr_comm_t comm = nullptr;
    ok = ok && hfr_comm_init_rank(&comm, kRanks, &id, rank, &options) == HFR_SUCCESS &&
         sums_are_right(comm, kRanks) && hfr_comm_finalize(comm) == HFR_SUCCESS &&
         hfr_comm_destroy(comm) == HFR_SUCCESS;
    if (!ok) std::fprintf(stderr, "rank %d: %s\n", rank, hfr_get_last_error(comm));
    std::_Exit(ok ? 0 : 1);
  }
  for (pid_t pid : children) {
    int status = -1;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  close(ids[0]);
  close(ids[1]);
}

}  // namespace
}  // namespace hfr_tests
