#include "topo/gpu_groups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hfr {
namespace {

using testing::HasSubstr;

// A node's GPUs by letter, and which islands NVLink joins: {"ab", "cd"} are two bridged pairs.
std::vector<GpuFacts> node(const std::string& gpus, const std::vector<std::string>& islands) {
  std::vector<GpuFacts> ranks;
  for (char gpu : gpus) {
    GpuFacts facts;
    if (gpu != '-') facts.gpu = gpu;
    for (const std::string& island : islands) {
      if (gpu == '-' || island.find(gpu) == std::string::npos) continue;
      for (char other : island) {
        if (other != gpu) facts.reaches.emplace_back(1, other);
      }
    }
    ranks.push_back(facts);
  }
  return ranks;
}

TEST(GpuGroups, FoundByTopology) {
  EXPECT_EQ(find_gpu_groups({}), GpuGroups{});
  EXPECT_EQ(find_gpu_groups(node("abcd", {})), GpuGroups{}) << "PCIe alone";
  EXPECT_EQ(find_gpu_groups(node("ab", {"ab"})), (GpuGroups{{0, 1}}));
  EXPECT_EQ(find_gpu_groups(node("abcd", {"ab", "cd"})), (GpuGroups{{0, 1}, {2, 3}}));
  EXPECT_EQ(find_gpu_groups(node("acbd", {"ab", "cd"})), (GpuGroups{{0, 2}, {1, 3}}));
  EXPECT_EQ(find_gpu_groups(node("abcd", {"abcd"})), (GpuGroups{{0, 1, 2, 3}}));
  EXPECT_EQ(find_gpu_groups(node("abcdefgh", {"abcdefgh"})), (GpuGroups{{0, 1, 2, 3, 4, 5, 6, 7}}));
  EXPECT_EQ(find_gpu_groups(node("abcdef", {"abcdef"})), (GpuGroups{{0, 1}, {2, 3}, {4, 5}}));
}

TEST(GpuGroups, NotFoundWhereSomeWouldBeLeftOver) {
  EXPECT_EQ(find_gpu_groups(node("abc", {"abc"})), GpuGroups{});
  EXPECT_EQ(find_gpu_groups(node("abcd", {"ab"})), GpuGroups{});
  EXPECT_EQ(find_gpu_groups(node("aabb", {"ab"})), (GpuGroups{{0, 2}, {1, 3}}))
      << "ranks that share a GPU share its link: they are never of one group";
  EXPECT_EQ(find_gpu_groups(node("aa", {"ab"})), GpuGroups{});
}

TEST(GpuGroups, ThreadsOfAProcessAreOfNoGroup) {
  std::vector<GpuFacts> ranks = node("abcd", {"abcd"});
  for (int rank : {0, 1, 2, 3}) ranks[static_cast<size_t>(rank)].process = rank;
  EXPECT_EQ(find_gpu_groups(ranks), (GpuGroups{{0, 1, 2, 3}}));
  ranks[1].process = 0;
  ranks[3].process = 2;
  EXPECT_EQ(find_gpu_groups(ranks), (GpuGroups{{0, 2}, {1, 3}}));
  for (GpuFacts& facts : ranks) facts.process = 0;
  EXPECT_EQ(find_gpu_groups(ranks), GpuGroups{});
  EXPECT_EQ(*cut_gpu_groups(ranks, 2), (GpuGroups{{0, 1}, {2, 3}})) << "by hand";
}

TEST(GpuGroups, OneWayIsNotEnough) {
  std::vector<GpuFacts> ranks = node("ab", {"ab"});
  ranks[1].reaches.clear();
  EXPECT_EQ(find_gpu_groups(ranks), GpuGroups{});
}

TEST(GpuGroups, RanksInHostMemoryStandBeside) {
  EXPECT_EQ(find_gpu_groups(node("-a-b", {"ab"})), (GpuGroups{{1, 3}}));
  EXPECT_EQ(*cut_gpu_groups(node("a-aa-a", {}), 2), (GpuGroups{{0, 2}, {3, 5}}));
  EXPECT_EQ(*cut_gpu_groups(node("---", {}), 2), GpuGroups{});
}

TEST(GpuGroups, CutByHand) {
  EXPECT_EQ(*cut_gpu_groups(node("aaaa", {}), 2), (GpuGroups{{0, 1}, {2, 3}}));
  EXPECT_EQ(*cut_gpu_groups(node("abcd", {}), 4), (GpuGroups{{0, 1, 2, 3}}));
  const Status odd = cut_gpu_groups(node("abc", {}), 2).status();
  EXPECT_EQ(odd.code(), Code::kInvalidArgument);
  EXPECT_THAT(odd.message(), HasSubstr("HFREDUCE_GPU_GROUP=2: a node has 3 GPU ranks"));
}

}  // namespace
}  // namespace hfr
