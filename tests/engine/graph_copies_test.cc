// Operations in graphs among others, in any order of turns: the device's side of their gates is
// played by the test, with copies listed once, as a graph has them.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <random>
#include <tuple>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

// One rank's graph of one operation.
class Replay {
 public:
  Replay(const hfr::Executor& executor, const hfr::OpDescriptor& desc) : desc_(desc) {
    executor.list_graph_copies(desc, request_);
    in_ = std::vector<hfr::Gate>(request_.in.size());
    out_ = std::vector<hfr::Gate>(request_.out.size());
    copies_.in = in_;
    copies_.out = out_;
    desc_.graph = &copies_;
  }
  const hfr::OpDescriptor& begin() {
    next_in_ = next_out_ = 0;
    return desc_;
  }
  // A step of one of the two branches.
  void step(bool in) {
    size_t& next = in ? next_in_ : next_out_;
    std::vector<hfr::Gate>& gates = in ? in_ : out_;
    if (next == gates.size() || gates[next].go.load() == 0) return;
    gates[next].go.store(0);
    const hfr::CopyDescriptor& copy = (in ? request_.in : request_.out)[next];
    if (copy.bytes > 0) std::memcpy(copy.dst, copy.src, copy.bytes);
    gates[next].done.store(1);
    ++next;
  }
  bool finished() const { return next_in_ == in_.size() && next_out_ == out_.size(); }

 private:
  hfr::OpDescriptor desc_;
  hfr::GraphRequest request_;
  hfr::GraphCopies copies_;
  std::vector<hfr::Gate> in_, out_;
  size_t next_in_ = 0, next_out_ = 0;
};

struct Rank {
  std::vector<std::unique_ptr<Replay>> graphs;  // one for each of the buffers
  size_t next = 0;                              // in the train
  Replay* running = nullptr;
};

using Case = std::tuple<std::vector<int>, uint64_t, int>;
class GraphOperations : public testing::TestWithParam<Case> {};

TEST_P(GraphOperations, AmongOthersInEveryOrder) {
  const auto& [nodes, window, group_size] = GetParam();
  EngineCluster cluster({.ranks_per_node = nodes,
                         .window = window,
                         .chunk_bytes = 4096,
                         .staged = true,
                         .group_size = group_size,
                         .copy_step = window == 4 ? 0u : 1u});
  // 32 KiB and less are exchanged between few nodes, more climbs trees.
  const std::vector<size_t> counts = {1, 700, 0, 5000, 20'000, 66'000};
  std::vector<Buffers> buffers;
  for (size_t count : counts) buffers.emplace_back(cluster.num_ranks(), count, false);
  std::vector<Rank> ranks(static_cast<size_t>(cluster.num_ranks()));
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
    for (Buffers& b : buffers) {
      ranks[static_cast<size_t>(rank)].graphs.push_back(
          std::make_unique<Replay>(cluster[rank], b.descriptor(rank)));
    }
  }
  std::mt19937 random(7);
  std::vector<std::pair<size_t, bool>> train;  // which buffers; in a graph
  for (int i = 0; i < 60; ++i) {
    const size_t which = random() % counts.size();
    // On one node no bytes are a small message, whose graph has no copies of chunks.
    train.emplace_back(which, random() % 3 != 0 && (counts[which] > 0 || nodes.size() > 1));
  }

  for (uint64_t turns = 0; !cluster.all_done(train.size() - 1); ++turns) {
    ASSERT_LT(turns, 5'000'000u) << "the ranks hold each other up";
    const auto me = random() % ranks.size();
    const int rank = static_cast<int>(me);
    Rank& mine = ranks[me];
    if (mine.running != nullptr) {
      mine.running->step(random() % 2 == 0);
      if (mine.running->finished()) mine.running = nullptr;
    } else if (mine.next < train.size() && random() % 2 == 0) {
      const auto [which, in_graph] = train[mine.next++];
      if (in_graph) {
        mine.running = mine.graphs[which].get();
        ASSERT_TRUE(cluster[rank].submit(mine.running->begin()));
      } else {
        ASSERT_TRUE(cluster[rank].submit(buffers[which].descriptor(rank)));
      }
    }
    for (unsigned i = 0; i < random() % 10; ++i) cluster[rank].progress();
  }
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
    EXPECT_FALSE(cluster[rank].failed()) << cluster[rank].failure().status.message();
  }
  for (const Buffers& b : buffers) b.check();
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name;
  const auto& [nodes, window, group_size] = info.param;
  for (int ranks : nodes) name += std::to_string(ranks) + "_";
  if (group_size > 0) name += "groups" + std::to_string(group_size) + "_";
  return name + "window" + std::to_string(window);
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& nodes :
       {std::vector<int>{1}, {2}, {5}, {1, 1}, {2, 2}, {1, 3, 2}, {1, 1, 1, 1}, {2, 1, 1, 2, 1}}) {
    for (uint64_t window : {2, 4, 8}) cases.emplace_back(nodes, window, 0);
  }
  // What is in no graph is added in groups first.
  for (const auto& nodes : {std::vector<int>{2}, {4}, {5}, {2, 2}}) {
    for (uint64_t window : {2, 4, 8}) cases.emplace_back(nodes, window, 2);
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Executor, GraphOperations, testing::ValuesIn(all_cases()), case_name);

// What waits in a graph goes on when the rank fails.
TEST(GraphOperation, AFailureOpensEveryGate) {
  EngineCluster cluster({.ranks_per_node = {2}, .chunk_bytes = 4096, .staged = true});
  Buffers buffers(2, 20'000, false);
  Replay replay(cluster[0], buffers.descriptor(0));
  ASSERT_TRUE(cluster[0].submit(replay.begin()));
  for (int i = 0; i < 100; ++i) cluster.turn();
  cluster[0].fail({hfr::Status(hfr::Code::kAborted, "the test says so"), 0});
  for (int i = 0; i < 100'000 && !replay.finished(); ++i) replay.step(i % 2 == 0);
  EXPECT_TRUE(replay.finished());
}

// One rank's operation stands in a graph and the other's does not: their chunks would not meet.
TEST(GraphOperation, AllRanksOrNone) {
  EngineCluster cluster({.ranks_per_node = {2}, .chunk_bytes = 4096, .staged = true});
  Buffers buffers(2, 20'000, false);
  Replay replay(cluster[0], buffers.descriptor(0));
  ASSERT_TRUE(cluster[0].submit(replay.begin()));
  ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  for (int i = 0; i < 100; ++i) cluster.turn();
  EXPECT_TRUE(cluster[1].failed());
  EXPECT_EQ(cluster[1].failure().status.code(), hfr::Code::kMismatch);
  EXPECT_NE(cluster[1].failure().status.message().find("graph"), std::string::npos);
}

}  // namespace
}  // namespace hfr_tests
