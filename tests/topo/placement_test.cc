#include "topo/placement.hpp"

#include <gtest/gtest.h>

#include "topo/discovery.hpp"

namespace hfr {
namespace {

TEST(Placement, CpuQuota) {
  EXPECT_EQ(parse_cpu_max("max 100000\n"), 0);
  EXPECT_EQ(parse_cpu_max("200000 100000\n"), 2);
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 2);
  EXPECT_EQ(parse_cpu_max("10000 100000\n"), 1);
  EXPECT_EQ(parse_cpu_max("-1 100000"), 0);
  EXPECT_EQ(parse_cpu_max(""), 0);
  EXPECT_EQ(parse_cpu_max("rubbish"), 0);
}

TEST(Placement, ThisMachine) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_GT(machine_memory_bytes(), size_t{1} << 20);
  EXPECT_FALSE(machine_id().empty());
  EXPECT_EQ(machine_id(), machine_id());
}

TEST(Discovery, ThisMachineMakesSense) {
  auto topology = discover_topology();
  ASSERT_TRUE(topology.ok()) << topology.status().message();
  EXPECT_GE(topology->num_sockets, 1);
  EXPECT_GE(topology->num_threads, topology->num_cores);
  EXPECT_GE(topology->numa_nodes.size(), 1u);
  EXPECT_LE(topology->usable_cpus, topology->num_threads);
}

}  // namespace
}  // namespace hfr
