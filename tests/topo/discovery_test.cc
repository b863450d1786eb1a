#include "topo/discovery.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace hfr {
namespace {

TEST(Discovery, ThisMachineMakesSense) {
  auto topology = discover_topology();
  ASSERT_TRUE(topology.ok()) << topology.status().message();
  ASSERT_FALSE(topology->sockets.empty());
  EXPECT_GE(topology->num_threads, topology->num_cores);
  EXPECT_LE(topology->usable_cpus, topology->num_threads);
  EXPECT_GE(topology->usable_cpus, 1);
  EXPECT_GT(topology->memory_bytes, 0u);
  const int threads = std::accumulate(topology->sockets.begin(), topology->sockets.end(), 0,
                                      [](int sum, const Socket& s) { return sum + s.num_threads; });
  EXPECT_EQ(threads, topology->num_threads);
}

TEST(Discovery, NumaNodesBelongToSockets) {
  auto topology = discover_topology();
  ASSERT_TRUE(topology.ok());
  ASSERT_FALSE(topology->numa_nodes.empty());
  for (const NumaNode& numa : topology->numa_nodes) {
    EXPECT_GE(numa.idx, 0);
    EXPECT_GE(numa.socket, 0);
    EXPECT_LT(numa.socket, static_cast<int>(topology->sockets.size()));
  }
}

TEST(Discovery, DevicesHaveBusIds) {
  auto topology = discover_topology();
  ASSERT_TRUE(topology.ok());
  for (const PciDevice& device : topology->devices) {
    EXPECT_THAT(device.bus_id,
                testing::ContainsRegex("^[0-9a-f]+:[0-9a-f]+:[0-9a-f]+\\.[0-9a-f]+$"));
  }
  for (const CacheLevel& cache : topology->caches) {
    EXPECT_GE(cache.level, 1);
    EXPECT_GE(cache.count, 1);
  }
}

}  // namespace
}  // namespace hfr
