#include "sim/world.hpp"

#include <gtest/gtest.h>

#include "clusters.hpp"
#include "cpu/reduce.hpp"
#include "payloads.hpp"
#include "reduce/inline_pool.hpp"

namespace hfr_tests {
namespace {

using namespace hfr::sim;

struct Case {
  int num_nodes;
  int ranks;
  const char* forest;
  bool on_host = false;
  int group = 0;
  int per_gpu = 1;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.num_nodes << "x" << c.ranks << "_" << c.forest << (c.on_host ? "_host" : "");
  if (c.per_gpu > 1) *out << "_shared" << c.per_gpu;
  if (c.group > 0) *out << "_groups" << c.group;
}

class Correctness : public testing::TestWithParam<Case> {};

// The shipped engine's sums are right whatever its parts' speeds, at sizes that take the butterfly,
// one chunk, and several rounds of the window.
TEST_P(Correctness, EverySumIsRight) {
  const Case& c = GetParam();
  ClusterSpec cluster = c.on_host ? host_cluster(c.ranks) : gpu_cluster(c.ranks);
  cluster.node.ranks_per_gpu = c.per_gpu;
  hfr::Config config;
  config.chunk_bytes = 4096;
  config.window = 8;
  config.forest = c.forest;
  if (c.group > 0) {
    cluster.node.gpu_group_rate = 300 * kG;
    for (int first = 0; first + c.group <= c.ranks; first += c.group) {
      cluster.node.gpu_groups.emplace_back();
      for (int r = first; r < first + c.group; ++r) cluster.node.gpu_groups.back().push_back(r);
    }
    config.gpu_group_from = 1;
  }
  WorldSpec spec = world_spec(cluster, c.num_nodes, config);
  spec.use_groups = c.group > 0;
  hfr::InlinePool adds(**hfr::select_kernel_table(""));
  spec.adds = &adds;
  auto world = World::create(spec);
  ASSERT_TRUE(world.ok()) << world.status().message();
  const std::vector<size_t> counts = {1, 700, 9000, 512, 20'001};
  Payloads payloads((*world)->num_ranks(), counts);
  const hfr::Status status = (*world)->run(
      counts.size(), [&](int rank, size_t op) { return payloads.descriptor(rank, op); });
  ASSERT_TRUE(status.ok()) << status.message();
  payloads.check();
}

INSTANTIATE_TEST_SUITE_P(World, Correctness,
                         testing::Values(Case{1, 1, "tree"}, Case{1, 8, "tree"}, Case{2, 8, "tree"},
                                         Case{3, 2, "ring"}, Case{5, 3, "tree"}, Case{7, 1, "ring"},
                                         Case{17, 4, "tree"}, Case{2, 1, "tree", true},
                                         Case{4, 3, "ring", true}, Case{40, 2, "tree", true},
                                         Case{1, 8, "tree", false, 2}, Case{1, 8, "tree", false, 8},
                                         Case{3, 8, "tree", false, 2}, Case{2, 7, "ring", false, 3},
                                         Case{2, 1, "tree", false, 0, 4},
                                         Case{1, 2, "tree", false, 0, 3}, Case{256, 1, "tree"},
                                         Case{200, 2, "tree"}),
                         testing::PrintToStringParamName());

// Time of one operation of float32 without payloads.
SimTime time_of(WorldSpec spec, size_t bytes, uint64_t* turns = nullptr) {
  auto world = World::create(std::move(spec));
  EXPECT_TRUE(world.ok()) << world.status().message();
  auto memory = ReservedMemory::create(bytes);
  const hfr::Status status = (*world)->run(1, [&](int, size_t) {
    return hfr::OpDescriptor{
        .send = memory->data(), .recv = memory->data(), .count = bytes / sizeof(float)};
  });
  EXPECT_TRUE(status.ok()) << status.message();
  if (turns != nullptr) *turns = (*world)->num_turns();
  return (*world)->duration();
}

// One node, one GPU: the message crosses the GPU's link in, is passed on where it lies, and crosses
// the link back; each way 20 GB/s, both at once 40.
TEST(World, OneGpuIsBoundByItsLink) {
  const size_t bytes = size_t{256} << 20;
  ClusterSpec cluster = gpu_cluster(1);
  const SimTime time = time_of(world_spec(cluster, 1), bytes);
  const double least = static_cast<double>(bytes) / (20 * kG);
  EXPECT_GT(seconds(time), least);
  // The first chunk in and the last one out have the link to themselves.
  const double chunk = static_cast<double>(size_t{4} << 20) / (20 * kG);
  EXPECT_LT(seconds(time), least + 3 * chunk);
}

// Ranks that share a GPU share its link, and a batch of their copies has one overhead: four ranks'
// chunks of 2 MiB are one.
TEST(World, RanksThatShareAGpuCopyInBatches) {
  const size_t bytes = size_t{64} << 20;
  ClusterSpec cluster = gpu_cluster(1);
  cluster.nodes = 1;
  cluster.node.ranks_per_gpu = 4;
  cluster.node.sockets[0].cache_bytes = size_t{1} << 40;  // memory is no limit
  cluster.node.dma_uses_cache = true;
  hfr::Config config;
  config.chunk_bytes = size_t{2} << 20;
  const SimTime base = time_of(world_spec(cluster, 1, config), bytes);
  const double least = 4 * static_cast<double>(bytes) / (20 * kG);
  EXPECT_GT(seconds(base), least);
  EXPECT_LT(seconds(base), 1.2 * least);
  cluster.node.copy_overhead_us = 50;
  // 32 batches on the link, one after the other; at the beginning and at the end some are smaller.
  const SimTime slower = time_of(world_spec(cluster, 1, config), bytes) - base;
  EXPECT_GT(slower, 32 * 50 * kPsPerUs);
  EXPECT_LT(slower, 48 * 50 * kPsPerUs);
}

// Each byte of a node's message costs 8 writes, 8 reads and a write, and 8 reads.
TEST(World, MemoryCountsEveryReadAndWrite) {
  const size_t bytes = size_t{256} << 20;
  ClusterSpec cluster = gpu_cluster(8);
  cluster.node.sockets[0].memory_rate = cluster.node.sockets[1].memory_rate = 10 * kG;
  cluster.node.socket_link_rate = 1000 * kG;
  const double total = seconds(time_of(world_spec(cluster, 1), bytes)) * 20 * kG;
  EXPECT_GT(total, 24.99 * static_cast<double>(bytes));
  EXPECT_LT(total, 25.0 * static_cast<double>(bytes) * 1.1);
  // On one socket half of the inputs and all that is done to the results.
  cluster.node.results_near_nic = true;
  const double one_sided = seconds(time_of(world_spec(cluster, 1), bytes)) * 10 * kG;
  EXPECT_GT(one_sided, 16.99 * static_cast<double>(bytes));
  EXPECT_LT(one_sided, 17.0 * static_cast<double>(bytes) * 1.1);
}

// Each way between the sockets, for each byte of a message: half of what four GPUs write and read,
// half of the eight inputs for half of the adding, and a quarter of the sum. Inputs near their GPUs
// are written on their own side.
TEST(World, TheSocketLinkCountsWhatCrosses) {
  const size_t bytes = size_t{256} << 20;
  ClusterSpec cluster = gpu_cluster(8);
  cluster.node.sockets[0].memory_rate = cluster.node.sockets[1].memory_rate = 1000 * kG;
  cluster.node.socket_link_rate = 10 * kG;
  const double interleaved = seconds(time_of(world_spec(cluster, 1), bytes)) * 10 * kG;
  EXPECT_GT(interleaved, 6.24 * static_cast<double>(bytes));
  EXPECT_LT(interleaved, 6.25 * static_cast<double>(bytes) * 1.1);
  cluster.node.inputs_near_gpu = true;
  const double near = seconds(time_of(world_spec(cluster, 1), bytes)) * 10 * kG;
  EXPECT_GT(near, 4.24 * static_cast<double>(bytes));
  EXPECT_LT(near, 4.25 * static_cast<double>(bytes) * 1.1);
}

TEST(World, SameSpecSameTimeToTheBit) {
  const WorldSpec spec = world_spec(gpu_cluster(8), 6);
  uint64_t turns = 0, again = 0;
  const SimTime first = time_of(spec, 50'000'000, &turns);
  EXPECT_EQ(time_of(spec, 50'000'000, &again), first);
  EXPECT_EQ(turns, again);
}

TEST(World, OverheadsAndLatenciesCount) {
  ClusterSpec cluster = gpu_cluster(2);
  const SimTime base = time_of(world_spec(cluster, 2), 64);
  ClusterSpec slower = cluster;
  slower.node.copy_overhead_us += 7;
  // In, and out again.
  EXPECT_NEAR(seconds(time_of(world_spec(slower, 2), 64) - base) * 1e6, 14, 0.01);
  slower = cluster;
  slower.fabric.base_latency_us += 5;
  // Two nodes exchange once, and add when what they sent is acknowledged.
  EXPECT_NEAR(seconds(time_of(world_spec(slower, 2), 64) - base) * 1e6, 10, 0.01);
}

// A node whose peers are busy is left alone: turns grow with what happens, not with the nodes.
TEST(World, OnlyThoseConcernedTakeTurns) {
  uint64_t few = 0, many = 0;
  time_of(world_spec(gpu_cluster(2), 8), 8 << 20, &few);
  time_of(world_spec(gpu_cluster(2), 64), 8 << 20, &many);
  EXPECT_LT(many, few * 10);
}

}  // namespace
}  // namespace hfr_tests
