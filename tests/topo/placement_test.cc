#include "topo/placement.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace hfr {
namespace {

TEST(Placement, CpuQuota) {
  EXPECT_EQ(parse_cpu_max("max 100000\n"), 0);
  EXPECT_EQ(parse_cpu_max("200000 100000\n"), 2);
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 2);
  EXPECT_EQ(parse_cpu_max("10000 100000\n"), 1);
  EXPECT_EQ(parse_cpu_max("-1 100000"), 0);
  EXPECT_EQ(parse_cpu_max("100000 0"), 0);
  EXPECT_EQ(parse_cpu_max(""), 0);
  EXPECT_EQ(parse_cpu_max("rubbish"), 0);
}

TEST(Placement, Lists) {
  EXPECT_EQ(count_list("0\n"), 1);
  EXPECT_EQ(count_list("0-3\n"), 4);
  EXPECT_EQ(count_list("0-3,8\n"), 5);
  EXPECT_EQ(count_list("1,3,5-6"), 4);
  EXPECT_EQ(count_list(""), 0);
  EXPECT_EQ(count_list("\n"), 0);
  EXPECT_EQ(count_list("3-1"), 0);
  EXPECT_EQ(count_list("2-"), 0);
}

TEST(Placement, CpusForEachRank) {
  const std::vector<std::string> pinned = {"0", "1"};
  EXPECT_TRUE(have_cpu_each(pinned, 0, 0));
  EXPECT_TRUE(have_cpu_each(pinned, 1, 2));
  EXPECT_FALSE(have_cpu_each(pinned, 1, 1)) << "the quota lets one of them run at a time";
  EXPECT_TRUE(have_cpu_each({"0-1", "0-1"}, 0, 0));
  EXPECT_FALSE(have_cpu_each({"0-1", "0-1", "0-1"}, 2, 0));
  EXPECT_FALSE(have_cpu_each({"0", "0", "1"}, 0, 0)) << "two on one CPU";
  EXPECT_TRUE(have_cpu_each({"0", "0", "1"}, 2, 0)) << "the third has its own";
  EXPECT_TRUE(have_cpu_each({"0-3,8", "8", "2"}, 0, 0));
  EXPECT_TRUE(have_cpu_each({"5"}, 0, 0));
}

TEST(Placement, AffinityIsAListOfAllCpusThatMayBeUsed) {
  EXPECT_EQ(count_list(affinity_list()), affinity_cpus());
}

TEST(Placement, ThisMachine) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), affinity_cpus());
  if (quota_cpus() > 0) {
    EXPECT_LE(usable_cpus(), quota_cpus());
  }
  EXPECT_EQ(last_level_cache_bytes() % 1024, 0U);
  EXPECT_GE(num_numa_nodes(), 1);
  EXPECT_GT(machine_memory_bytes(), size_t{1} << 20);
}

TEST(Placement, MachineIdIsStableHex) {
  EXPECT_EQ(machine_id(), machine_id());
  EXPECT_FALSE(machine_id().empty());
  EXPECT_EQ(machine_id().find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(Placement, SpreadMemoryIsUsable) {
  constexpr size_t kBytes = size_t{1} << 20;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  interleave_memory(memory, kBytes);
  std::memset(memory, 7, kBytes);
  const auto* bytes = static_cast<const char*>(memory);
  EXPECT_TRUE(std::all_of(bytes, bytes + kBytes, [](char c) { return c == 7; }));
  munmap(memory, kBytes);
}

}  // namespace
}  // namespace hfr
