// The sizes at which paths change, from a communicator's shape.
#include "comm/sizing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace hfr {
namespace {

constexpr size_t kKiB = 1024;

Shape one_node(int num_ranks, bool crowded) {
  Shape shape = make_shape(0, std::vector<std::string>(static_cast<size_t>(num_ranks), "node"));
  shape.crowded = crowded;
  return shape;
}

size_t flat_bytes(const Shape& shape, bool reached, size_t set = 0) {
  Config config;
  config.flat_bytes = set;
  return size_limits(shape, size_staging(shape, config), config, {.reached = reached}).flat_bytes;
}

TEST(FlatBytes, FewerForMoreRanks) {
  EXPECT_EQ(flat_bytes(one_node(2, false), false), 64 * kKiB);
  EXPECT_EQ(flat_bytes(one_node(8, false), false), 16 * kKiB);
  EXPECT_EQ(flat_bytes(one_node(256, false), false), 4 * kKiB);
}

TEST(FlatBytes, FewerWhereBuffersAreReached) {
  EXPECT_EQ(flat_bytes(one_node(2, false), true), 16 * kKiB);
}

// What only the kernel reaches is worth a copy for longer.
TEST(FlatBytes, AsManyOfPrivateBuffers) {
  auto limits = [](bool reached, const char* check) {
    Config config;
    config.check = check;
    const Shape shape = one_node(2, false);
    return size_limits(shape, size_staging(shape, config), config, {.reached = reached});
  };
  EXPECT_EQ(limits(true, "off").flat_private_bytes, 64 * kKiB);
  EXPECT_EQ(limits(false, "off").flat_private_bytes, limits(false, "off").flat_bytes);
  EXPECT_EQ(limits(true, "crc").flat_private_bytes, 0U);
}

TEST(FlatBytes, MoreWhereRanksShareCpus) {
  EXPECT_EQ(flat_bytes(one_node(4, true), false), 64 * kKiB);
  EXPECT_EQ(flat_bytes(one_node(4, true), true), 64 * kKiB);
  EXPECT_EQ(flat_bytes(one_node(2, true), true), 64 * kKiB);
}

TEST(FlatBytes, WhatIsSetStays) {
  EXPECT_EQ(flat_bytes(one_node(4, true), true, 8 * kKiB), 8 * kKiB);
  EXPECT_EQ(flat_bytes(one_node(4, false), true, 8 * kKiB), 8 * kKiB);
}

// One rank a node: what queue pairs and their memory grow with.
TEST(PeerRanks, GrowWithTheTreesAndNotWithTheWorld) {
  const Config config;
  for (int num_nodes : {2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 64, 100, 500, 1000}) {
    std::vector<std::string> names;
    for (int node = 0; node < num_nodes; ++node) names.push_back(std::to_string(node));
    const std::vector<NodeSchedules> schedules = make_all_schedules(num_nodes, config);
    std::vector<std::vector<int>> peers;
    for (int node = 0; node < num_nodes; ++node) {
      const Shape shape = make_shape(node, names);
      const int window = size_staging(shape, config).window;
      peers.push_back(peer_ranks(shape, schedules[static_cast<size_t>(node)], window));
    }
    // A parent and two children in each of two trees, a partner in each round of the butterfly and
    // one beside when their number is no power of two, two neighbours in a short ring.
    const int most = 2 * 3 + butterfly_rounds(num_nodes) + 1 + (num_nodes <= kMaxRingNodes ? 2 : 0);
    for (int node = 0; node < num_nodes; ++node) {
      const std::vector<int>& mine = peers[static_cast<size_t>(node)];
      EXPECT_LE(static_cast<int>(mine.size()), most) << num_nodes << " nodes";
      for (int peer : mine) {
        const std::vector<int>& theirs = peers[static_cast<size_t>(peer)];
        EXPECT_TRUE(std::binary_search(theirs.begin(), theirs.end(), node))
            << "rank " << node << " connects to " << peer << ", which does not expect it";
      }
    }
  }
}

// A copy costs the link more than its bytes, once for each rank.
TEST(ChunkBytes, NoSmallOnesOnGpus) {
  auto smallest = [](int num_ranks, size_t set) {
    Shape shape = one_node(num_ranks, false);
    shape.any_on_device = true;
    Config config;
    config.chunk_bytes = set;
    return size_limits(shape, size_staging(shape, config), config, {}).min_chunk_bytes;
  };
  EXPECT_EQ(smallest(4, 0), 512 * kKiB);
  EXPECT_EQ(smallest(8, 0), 2048 * kKiB);
  EXPECT_EQ(smallest(4, 64 * kKiB), 64 * kKiB);
  EXPECT_EQ(smallest(8, 64 * kKiB), 64 * kKiB);
}

// Where no two ranks share a GPU, results stay in the last cache, and more and smaller chunks are
// under way; what is set by hand stays.
TEST(OwnGpus, SmallerChunksInMoreLanes) {
  auto limits = [](int num_ranks, bool own, size_t chunk_bytes = 0) {
    Shape shape = one_node(num_ranks, false);
    shape.any_on_device = shape.all_on_device = true;
    shape.own_gpus = own;
    Config config;
    config.chunk_bytes = chunk_bytes;
    const StagingShape staging = size_staging(shape, config);
    return std::pair(staging, size_limits(shape, staging, config, {}));
  };
  for (int num_ranks : {2, 4, 8}) {
    const auto [staging, own] = limits(num_ranks, true);
    EXPECT_GE(staging.window, 16) << num_ranks;
    EXPECT_LE(static_cast<size_t>(staging.window * (num_ranks + 1)) * staging.slot_bytes,
              size_t{768} << 20);
    EXPECT_EQ(own.fine_chunk_bytes, 2048 * kKiB) << num_ranks;
    EXPECT_EQ(own.copies_together, 2) << num_ranks;
    EXPECT_EQ(own.copies_ahead, num_ranks == 2 ? 12 : num_ranks == 4 ? 6 : 4) << num_ranks;
    EXPECT_TRUE(own.demote_results && !own.stream_results) << num_ranks;
    const EngineLimits shared = limits(num_ranks, false).second;
    EXPECT_EQ(shared.fine_chunk_bytes, 0) << num_ranks;
    EXPECT_EQ(shared.copies_together, 1) << num_ranks;
    EXPECT_EQ(shared.copies_ahead, 0) << num_ranks;
    EXPECT_TRUE(!shared.demote_results && shared.stream_results) << num_ranks;
  }
  const auto [staging, set] = limits(4, true, 4096 * kKiB);
  EXPECT_EQ(staging.slot_bytes, 4096 * kKiB);
  EXPECT_EQ(set.fine_chunk_bytes, 0);
  EXPECT_EQ(set.copies_ahead, 4);
  // Two ranks' threads add what four ranks' would.
  Shape shape = one_node(2, false);
  EXPECT_EQ(most_add_threads(shape, 2), 4);
  shape.any_on_device = shape.all_on_device = shape.own_gpus = true;
  EXPECT_EQ(most_add_threads(shape, 2), 8);
  EXPECT_EQ(most_add_threads(shape, 8), 4);
  // A rank alone has nobody to share memory with.
  EXPECT_EQ(limits(1, true).first.window, 8);
  EXPECT_FALSE(limits(1, true).second.demote_results);
}

// Past two nodes a GPU's chunks are smaller and more of them under way; staging keeps to its
// budget.
TEST(ChunkBytes, ManyNodesOfGpusTakeSmallerOnes) {
  auto staging = [](int num_nodes, int local, const Config& config) {
    std::vector<int> node_of_rank;
    for (int rank = 0; rank < num_nodes * local; ++rank) node_of_rank.push_back(rank / local);
    Shape shape = make_shape(0, node_of_rank);
    shape.any_on_device = true;
    return size_staging(shape, config);
  };
  EXPECT_EQ(staging(2, 8, {}).slot_bytes, 2048 * kKiB);
  EXPECT_EQ(staging(2, 4, {}).slot_bytes, 4096 * kKiB);
  EXPECT_EQ(staging(2, 4, {}).window, 8);
  for (int local : {1, 4, 8}) {
    EXPECT_EQ(staging(64, local, {}).slot_bytes, 1024 * kKiB) << local;
    EXPECT_EQ(staging(64, local, {}).window, 48) << local;
  }
  Config set;
  set.chunk_bytes = 2048 * kKiB;
  set.window = 10;
  EXPECT_EQ(staging(64, 4, set).slot_bytes, 2048 * kKiB);
  EXPECT_EQ(staging(64, 4, set).window, 10);
  for (int local : {1, 4, 5, 8, 16, 64}) {
    const StagingShape fits = staging(64, local, {});
    const auto slots = static_cast<size_t>(fits.window * (local + 1 + fits.num_children));
    EXPECT_LE(slots * fits.slot_bytes, size_t{768} << 20) << local;
  }
}

// The forest is chosen by the chunks that the plan makes. In host memory they are those of the
// documented table; eight GPUs' are so large that a few of them cannot fill a ring's long way.
TEST(Forest, IsChosenByTheChunksThatThePlanMakes) {
  auto link = [](int num_nodes, int local, bool on_device) {
    std::vector<int> node_of_rank;
    for (int rank = 0; rank < num_nodes * local; ++rank) node_of_rank.push_back(rank / local);
    Shape shape = make_shape(0, node_of_rank);
    shape.any_on_device = on_device;
    return size_limits(shape, size_staging(shape, {}), {}, {.rdma = true}).link;
  };
  for (int num_nodes = 3; num_nodes <= 8; ++num_nodes) {
    for (size_t bytes = kKiB; bytes <= kKiB << 20; bytes *= 2) {
      EXPECT_EQ(choose_forest(num_nodes, bytes, link(num_nodes, 1, false)),
                choose_forest(num_nodes, bytes, {}))
          << num_nodes << " nodes, " << bytes;
    }
  }
  EXPECT_EQ(choose_forest(8, 4 * kKiB * kKiB, {}), ForestKind::kRing);
  EXPECT_EQ(choose_forest(8, 4 * kKiB * kKiB, link(8, 8, true)), ForestKind::kDoubleBinaryTree);
}

// GPUs over RDMA: the ring pays with few nodes and large messages only (docs/schedules.md).
TEST(Forest, OfGpusOverRdmaIsARingForFewNodes) {
  const LinkModel link =
      size_limits(make_shape(0, std::vector<int>{0, 1, 2, 3}), {.slot_bytes = 1024 * kKiB}, {}, {})
          .link;
  EXPECT_EQ(link.bytes_per_ns, LinkModel().bytes_per_ns) << "of sockets, and of host memory";
  auto first_ring = [](int num_nodes) {
    std::vector<int> node_of_rank;
    for (int rank = 0; rank < num_nodes * 8; ++rank) node_of_rank.push_back(rank / 8);
    Shape shape = make_shape(0, node_of_rank);
    shape.any_on_device = true;
    const LinkModel model = size_limits(shape, size_staging(shape, {}), {}, {.rdma = true}).link;
    size_t mib = 1;
    while (choose_forest(num_nodes, mib * kKiB * kKiB, model) != ForestKind::kRing) mib *= 2;
    return mib;
  };
  EXPECT_EQ(first_ring(3), 64U);
  EXPECT_EQ(first_ring(4), 32U);
  EXPECT_EQ(first_ring(6), 128U);
  EXPECT_EQ(first_ring(8), 256U);
}

TEST(FlatBytes, ThePostsHoldThem) {
  for (int ranks : {2, 4, 8, 64}) {
    for (bool crowded : {false, true}) {
      const Shape shape = one_node(ranks, crowded);
      const StagingShape staging = size_staging(shape, Config());
      EXPECT_LE(flat_bytes(shape, true), staging.flat_bytes);
      EXPECT_LE(size_limits(shape, staging, Config(), {.reached = true}).flat_private_bytes,
                staging.flat_bytes);
    }
  }
}

}  // namespace
}  // namespace hfr
