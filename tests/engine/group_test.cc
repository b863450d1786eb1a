// Groups of GPUs (engine/group.hpp) without a GPU: who carries what, where boxes lie, and whole
// all-reduces in random order, with GPUs played by group_device.hpp.
#include "engine/group.hpp"

#include <gmock/gmock.h>

#include <random>
#include <set>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

using hfr::CopyDirection;

std::vector<hfr::Groups> views_of(const std::vector<std::vector<int>>& groups,
                                  const hfr::Staging& staging,
                                  std::vector<std::vector<std::byte>>& memory) {
  std::vector<hfr::Groups> views;
  for (int me = 0; me < staging.shape().num_local; ++me) {
    std::vector<std::byte*> boxes;
    for (const auto& group : groups) {
      if (std::find(group.begin(), group.end(), me) == group.end()) continue;
      for (int member : group) boxes.push_back(memory[static_cast<size_t>(member)].data());
    }
    views.emplace_back(groups, me, boxes, staging);
  }
  return views;
}

// Every lane has one carrier in a group, all members agree on the boxes, and no two of them touch.
TEST(Groups, CarriersAndBoxes) {
  for (int window : {1, 3, 8, 24}) {
    for (const auto& groups : {std::vector<std::vector<int>>{{0, 1}},
                               {{0, 3}, {1, 2}},
                               {{1, 2, 4, 5}},
                               {{0, 1, 2, 3, 4, 5, 6, 7}}}) {
      const hfr::StagingShape shape{.num_local = 8, .window = window, .slot_bytes = 4096};
      std::vector<std::byte> segment(hfr::Staging::bytes_needed(shape));
      const hfr::Staging staging(shape, segment.data());
      const int size = static_cast<int>(groups[0].size());
      const size_t bytes = hfr::Groups::box_bytes(size, shape);
      std::vector<std::vector<std::byte>> memory(8, std::vector<std::byte>(bytes));
      const std::vector<hfr::Groups> views = views_of(groups, staging, memory);
      std::set<std::byte*> boxes;
      auto check_box = [&](int owner, std::byte* box) {
        std::byte* base = memory[static_cast<size_t>(owner)].data();
        ASSERT_GE(box, base);
        ASSERT_LE(box + shape.slot_bytes, base + bytes);
        ASSERT_EQ((box - base) % static_cast<std::ptrdiff_t>(shape.slot_bytes), 0);
        EXPECT_TRUE(boxes.insert(box).second) << "two in one box";
      };
      for (int lane = 0; lane < window; ++lane) {
        for (const auto& group : groups) {
          const int carrier = group[static_cast<size_t>(lane % size)];
          std::byte* first = nullptr;
          std::byte* outbox = nullptr;
          for (int member : group) {
            const hfr::Groups& view = views[static_cast<size_t>(member)];
            EXPECT_EQ(view.carrier(member, lane), carrier);
            EXPECT_EQ(view.members(), group);
            if (member == carrier) continue;
            check_box(carrier, view.inbox(lane));
            if (first == nullptr) first = view.inbox(lane);
            outbox = view.outbox(lane);
          }
          const hfr::Groups& view = views[static_cast<size_t>(carrier)];
          EXPECT_EQ(view.inbox(lane), first) << "the first of the others'";
          EXPECT_EQ(view.outbox(lane), outbox);
          EXPECT_EQ(view.landed_of_others(lane).size(), group.size() - 1);
          check_box(carrier, outbox);
        }
      }
    }
  }
}

TEST(Groups, RanksInNoneCarryThemselves) {
  const hfr::StagingShape shape{.num_local = 3, .window = 4, .slot_bytes = 4096};
  std::vector<std::byte> segment(hfr::Staging::bytes_needed(shape));
  const hfr::Groups groups({{0, 2}}, 1, {}, hfr::Staging(shape, segment.data()));
  EXPECT_TRUE(groups.any());
  EXPECT_FALSE(groups.has(1));
  for (int lane = 0; lane < 4; ++lane) EXPECT_EQ(groups.carrier(1, lane), 1);
  EXPECT_TRUE(groups.is_first(0) && groups.is_first(1) && !groups.is_first(2));
  EXPECT_FALSE(hfr::Groups().any());
}

struct Case {
  std::vector<int> nodes;
  int group_size;
  uint64_t window;
};

void PrintTo(const Case& c, std::ostream* out) {
  for (int ranks : c.nodes) *out << ranks << '_';
  *out << "groups" << c.group_size << "_window" << c.window;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (uint64_t window : {2, 4, 8}) {
    for (const auto& nodes : {std::vector<int>{2}, {4}, {5}, {2, 2}, {4, 1, 3}}) {
      cases.push_back({nodes, 2, window});
    }
    for (const auto& nodes : {std::vector<int>{4}, {8}, {4, 4}}) {
      cases.push_back({nodes, 4, window});
    }
    for (const auto& nodes : {std::vector<int>{8}, {9}, {8, 8}}) {
      cases.push_back({nodes, 8, window});
    }
  }
  return cases;
}

class GroupTurns : public testing::TestWithParam<Case> {};

// As Executor's RandomTurns; messages from 2000 bytes on take the groups, so that both kinds use
// the same lanes in turn.
TEST_P(GroupTurns, EveryOrderGivesTheSums) {
  const Case& c = GetParam();
  EngineCluster cluster({.ranks_per_node = c.nodes,
                         .window = c.window,
                         .chunk_bytes = 4096,
                         .staged = true,
                         .group_size = c.group_size,
                         .group_from = 2000});
  const std::vector<size_t> counts = {513, 1, 4096, 0, 20'000, 3, 9000, 2049, 511, 70'000};
  run_in_random_turns(cluster, counts, 23);
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) EXPECT_TRUE(cluster[rank].boxes_free());
}

INSTANTIATE_TEST_SUITE_P(Engine, GroupTurns, testing::ValuesIn(all_cases()),
                         testing::PrintToStringParamName());

// What groups are for: each member moves its share between device and staging, and no more; nothing
// at all where all ranks are of one group.
TEST(Groups, EachMemberMovesItsShare) {
  for (int size : {2, 4, 8}) {
    constexpr size_t kCount = size_t{1} << 18;
    constexpr size_t kBytes = kCount * sizeof(int64_t);
    EngineCluster cluster({.ranks_per_node = {8},
                           .window = 8,
                           .chunk_bytes = 4096,
                           .staged = true,
                           .group_size = size});
    Buffers buffers(8, kCount, false);
    for (int rank = 0; rank < 8; ++rank) {
      ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
    }
    while (!cluster.all_done(0)) cluster.turn();
    buffers.check();
    const size_t share = kBytes / static_cast<size_t>(size);
    for (int rank = 0; rank < 8; ++rank) {
      const GroupDevice& device = cluster.group_device(rank);
      EXPECT_EQ(device.bytes_moved(CopyDirection::kIn), size == 8 ? 0 : share);
      EXPECT_EQ(device.bytes_moved(CopyDirection::kOut), size == 8 ? 0 : share);
      EXPECT_EQ(device.bytes_moved(CopyDirection::kAdd), share);
      EXPECT_EQ(device.bytes_moved(CopyDirection::kPush), kBytes - share);
      EXPECT_EQ(device.bytes_moved(CopyDirection::kPull), kBytes);
    }
  }
}

TEST(Groups, AveragesDivideOnce) {
  for (int size : {2, 4}) {
    EngineCluster cluster({.ranks_per_node = {4},
                           .window = 4,
                           .chunk_bytes = 4096,
                           .staged = true,
                           .group_size = size});
    std::vector<std::vector<int64_t>> data(4, std::vector<int64_t>(3000));
    for (int rank = 0; rank < 4; ++rank) {
      auto& mine = data[static_cast<size_t>(rank)];
      for (size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<int64_t>(i) - 500 * rank;
      ASSERT_TRUE(cluster[rank].submit({.send = mine.data(),
                                        .recv = mine.data(),
                                        .count = mine.size(),
                                        .dtype = hfr::DType::kInt64,
                                        .op = hfr::Op::kAvg}));
    }
    while (!cluster.all_done(0)) cluster.turn();
    for (const auto& result : data) {
      for (size_t i = 0; i < result.size(); ++i) {
        ASSERT_EQ(result[i], (4 * static_cast<int64_t>(i) - 3000) / 4) << "groups of " << size;
      }
    }
  }
}

// A member that fails lets its copies go, whatever they overwrite, while another's engine is in the
// middle of a turn: who completes the operation has the sums all the same, who does not fails.
TEST(Groups, AFailureIsSeenBeforeItsResult) {
  for (int size : {2, 4}) {
    for (int turns = 0; turns < 200; ++turns) {
      EngineCluster cluster({.ranks_per_node = {4},
                             .window = 4,
                             .chunk_bytes = 4096,
                             .staged = true,
                             .group_size = size});
      Buffers buffers(4, 6000, false);
      for (int rank = 0; rank < 4; ++rank) {
        ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
      }
      for (int i = 0; i < turns; ++i) cluster.turn();
      if (cluster[1].completed(0)) break;
      cluster.group_device(1).make_early();
      cluster.group_device(0).at_next_poll([&] {
        cluster[1].fail({hfr::Status(hfr::Code::kAborted, "the test says so"), 1});
        // The others' GPUs are faster than their engines.
        for (int i = 0; i < 100; ++i) {
          for (int rank : {0, 2, 3}) cluster.group_device(rank).poll();
        }
      });
      for (int i = 0; i < 100; ++i) cluster.turn();
      for (int rank : {0, 2, 3}) {
        if (cluster[rank].completed(0)) {
          EXPECT_TRUE(buffers.is_right(rank)) << "rank " << rank << " after " << turns << " turns";
        } else {
          EXPECT_TRUE(cluster[rank].failed());
        }
      }
    }
  }
}

// Rank 1 neither pushes nor carries: the others name it, whoever carries the chunk they wait for.
class MissingMember : public testing::TestWithParam<int> {};

TEST_P(MissingMember, IsNamed) {
  EngineCluster cluster({.ranks_per_node = {4},
                         .window = 4,
                         .chunk_bytes = 4096,
                         .staged = true,
                         .group_size = GetParam()});
  Buffers buffers(4, 50'000, false);
  for (int rank = 0; rank < 4; ++rank) {
    ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
  }
  for (int i = 0; i < 3; ++i) cluster.turn();  // all have started it
  auto others_turn = [&] {
    bool moved = false;
    for (int rank : {0, 2, 3}) moved |= cluster[rank].progress();
    return moved;
  };
  while (others_turn()) {
  }
  EXPECT_FALSE(cluster[0].check(cluster.clock().now));
  cluster.clock().now += 1'000'000'001;
  const auto stall = cluster[0].check(cluster.clock().now);
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->wait.rank, 1) << wait_text(stall->wait);
}
INSTANTIATE_TEST_SUITE_P(Groups, MissingMember, testing::Values(2, 4));

}  // namespace
}  // namespace hfr_tests
