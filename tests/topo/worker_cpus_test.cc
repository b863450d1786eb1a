#include "topo/worker_cpus.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "topo/placement.hpp"

namespace hfr {
namespace {

using Cpus = std::vector<int>;

// Two NUMA nodes of 4 cores with 2 threads each.
const std::vector<NodeCpus> kTwoNodes = {{0, {0, 1, 2, 3, 8, 9, 10, 11}, 4},
                                         {1, {4, 5, 6, 7, 12, 13, 14, 15}, 4}};

TEST(WorkerCpus, NeverMoreThanGranted) {
  EXPECT_EQ(divide_cpus(kTwoNodes, 16, {.max_threads = 99}).size(), 8u);  // cores, not threads
  EXPECT_EQ(divide_cpus(kTwoNodes, 3, {.max_threads = 99}).size(), 3u);   // quota
  EXPECT_EQ(divide_cpus(kTwoNodes, 16, {.max_threads = 2}).size(), 2u);
  EXPECT_EQ(divide_cpus(kTwoNodes, 16, {.max_threads = 99, .numa = 1}).size(), 4u);
  EXPECT_EQ(divide_cpus(kTwoNodes, 16, {.max_threads = 99, .num_shares = 3}).size(), 2u);
  EXPECT_EQ(divide_cpus(kTwoNodes, 16, {.max_threads = 99, .num_shares = 50}).size(), 1u);
  EXPECT_EQ(divide_cpus({}, 16, {.max_threads = 99}), std::vector<Cpus>{Cpus{}});
}

TEST(WorkerCpus, ConsecutiveWorkersShareANode) {
  auto all = divide_cpus(kTwoNodes, 16, {.max_threads = 8});
  for (size_t w = 0; w < 8; ++w) EXPECT_EQ(all[w], kTwoNodes[w / 4].cpus) << w;
  for (const Cpus& cpus : divide_cpus(kTwoNodes, 16, {.max_threads = 8, .numa = 1})) {
    EXPECT_EQ(cpus, kTwoNodes[1].cpus);
  }
  // Four pools of one thread spread over both nodes.
  for (int share = 0; share < 4; ++share) {
    WorkerRequest request{.max_threads = 1, .share_idx = share, .num_shares = 4};
    EXPECT_EQ(divide_cpus(kTwoNodes, 16, request)[0], kTwoNodes[share / 2].cpus) << share;
  }
}

TEST(WorkerCpus, NodesWithoutAllowedCpusAreLeftOut) {
  std::vector<NodeCpus> nodes = kTwoNodes;
  nodes[0] = {0, {}, 0};
  for (int numa : {-1, 0, 1}) {
    auto cpus = divide_cpus(nodes, 16, {.max_threads = 99, .numa = numa});
    ASSERT_EQ(cpus.size(), 4u) << numa;
    for (const Cpus& worker : cpus) EXPECT_EQ(worker, nodes[1].cpus);
  }
}

TEST(WorkerCpus, ThisMachine) {
  auto cpus = worker_cpus({.max_threads = 1000});
  EXPECT_GE(cpus.size(), 1u);
  EXPECT_LE(cpus.size(), static_cast<size_t>(usable_cpus()));
}

TEST(WorkerCpus, BoundThreadsRunThere) {
  const Cpus allowed = worker_cpus({.max_threads = 1})[0];
  if (allowed.empty()) GTEST_SKIP() << "hwloc cannot read this machine";
  std::atomic<bool> bound{false};
  int cpu = -1;
  std::thread thread([&] {
    while (!bound.load()) sched_yield();
    cpu = sched_getcpu();
  });
  const pthread_t handle = thread.native_handle();
  bind_threads({&handle, 1}, std::vector<Cpus>{{allowed.back()}});
  bound = true;
  thread.join();
  EXPECT_EQ(cpu, allowed.back());
}

}  // namespace
}  // namespace hfr
