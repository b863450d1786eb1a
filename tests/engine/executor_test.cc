#include "engine/executor.hpp"

#include <gmock/gmock.h>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

struct Case {
  std::vector<int> nodes;
  uint64_t window;
  std::string forest;
  bool direct;
  bool staged = false;
  bool mixed = false;
  bool copies = false;
};

void PrintTo(const Case& c, std::ostream* out) {
  for (int ranks : c.nodes) *out << ranks << '_';
  *out << "window" << c.window << '_' << c.forest << (c.direct ? "_direct" : "_staged")
       << (c.copies   ? "_copies"
           : c.mixed  ? "_mixed"
           : c.staged ? "_on_device"
                      : "");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& nodes : {std::vector<int>{1},
                            {2},
                            {3},
                            {19},
                            {1, 1},
                            {2, 2},
                            {1, 3, 2},
                            {1, 1, 1, 1},
                            {2, 1, 1, 2, 1}}) {
    for (uint64_t window : {2, 4, 8}) {
      for (bool direct : {false, true}) {
        for (const char* forest : {"tree", "ring"}) {
          if (nodes.size() == 1 && std::string(forest) == "ring") continue;
          cases.push_back({nodes, window, forest, direct});
          if (nodes.size() > 1)
            cases.push_back({nodes, window, forest, direct, false, false, true});
          cases.push_back({nodes, window, forest, direct, true});
          cases.push_back({nodes, window, forest, direct, true, true});
        }
      }
    }
  }
  return cases;
}

class RandomTurns : public testing::TestWithParam<Case> {};

TEST_P(RandomTurns, EveryOrderGivesTheSums) {
  const Case& c = GetParam();
  EngineCluster cluster({.ranks_per_node = c.nodes,
                         .window = c.window,
                         .chunk_bytes = 4096,
                         .forest = c.forest,
                         .direct = c.direct,
                         .staged = c.staged,
                         .copies = c.copies,
                         .mixed = c.mixed});
  const std::vector<size_t> counts = {1, 0, 3, 511, 512, 513, 4096, 20'000, 2049, 9000, 1, 70'000};
  run_in_random_turns(cluster, counts, 11);
}

void submit_all(EngineCluster& cluster, Buffers& buffers) {
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
    ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
  }
}

// Ranks that share a GPU keep step with each other: the sums are right in every order of turns.
TEST(Executor, KeepingStepInEveryOrder) {
  unsigned seed = 0;
  for (const auto& nodes : {std::vector<int>{2}, {5}, {2, 2}, {1, 3, 2}}) {
    for (uint64_t window : {2, 8}) {
      for (uint64_t step : {1, 2, 3}) {
        for (bool mixed : {false, true}) {
          EngineCluster cluster({.ranks_per_node = nodes,
                                 .window = window,
                                 .chunk_bytes = 4096,
                                 .staged = true,
                                 .mixed = mixed,
                                 .copy_step = step});
          run_in_random_turns(cluster, {1, 20'000, 0, 513, 9000, 3, 70'000}, ++seed);
        }
      }
    }
  }
}

// Chunks that have passed a stage, from the first on; `counter` of their lane says so.
template <typename Counter>
size_t num_passed(EngineCluster& cluster, Counter&& counter) {
  const hfr::Staging& staging = cluster.context(0).staging;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  uint64_t chunk = 0;
  while (counter(staging, static_cast<int>(chunk % window)).load() >= chunk + 1) ++chunk;
  return chunk;
}

// That a rank's copies have brought to staging.
size_t num_landed(EngineCluster& cluster, int rank) {
  return num_passed(
      cluster, [rank](const hfr::Staging& staging, int lane) -> auto& {
        return staging.landed(lane, rank);
      });
}

size_t num_added(EngineCluster& cluster) {
  return num_passed(
      cluster, [](const hfr::Staging& staging, int lane) -> auto& { return staging.added(lane); });
}

// Rank 0 gets as many turns as it likes, the other two one at a time.
TEST(Executor, NobodysCopiesAreFurtherAhead) {
  for (uint64_t step : {0, 1, 2}) {
    EngineCluster cluster({.ranks_per_node = {3},
                           .window = 8,
                           .chunk_bytes = 4096,
                           .staged = true,
                           .copy_step = step});
    Buffers buffers(3, size_t{512} * 20, false);  // 20 chunks
    submit_all(cluster, buffers);
    auto run_ahead = [&] {
      for (int i = 0; i < 100; ++i) cluster[0].progress();
    };
    cluster[1].progress();
    cluster[2].progress();  // both have announced it
    run_ahead();
    EXPECT_EQ(num_landed(cluster, 0), step == 0 ? 8u : step);
    for (int turns = 0; step > 0 && !cluster.all_done(0); ++turns) {
      ASSERT_LT(turns, 10'000);
      cluster[1 + turns % 2].progress();
      run_ahead();
      const size_t slowest = std::min(num_landed(cluster, 1), num_landed(cluster, 2));
      EXPECT_LE(num_landed(cluster, 0), slowest + step);
    }
    for (int i = 0; i < 1000; ++i) cluster.turn();
    buffers.check();
  }
}

// Rank 0's copies wait for the adds, which wait for the others.
TEST(Executor, CopiesKeepCloseToTheAdds) {
  struct Limits {
    uint64_t ahead, together;
    size_t most;  // chunks that are copied and not added
  };
  for (const Limits& c : {Limits{0, 1, 8},
                          {1, 1, 1},
                          {3, 1, 3},
                          {8, 1, 8},
                          {20, 1, 8},
                          {0, 2, 8},
                          {3, 2, 2},
                          {6, 2, 6}}) {
    SCOPED_TRACE(testing::Message() << c.ahead << " ahead, " << c.together << " together");
    EngineCluster cluster({.ranks_per_node = {3},
                           .window = 8,
                           .chunk_bytes = 4096,
                           .staged = true,
                           .copies_ahead = c.ahead,
                           .copies_together = c.together});
    Buffers buffers(3, size_t{512} * 30, false);  // 30 chunks
    submit_all(cluster, buffers);
    cluster[1].progress();
    cluster[2].progress();  // both have announced it
    for (int i = 0; i < 100; ++i) cluster[0].progress();
    EXPECT_EQ(num_landed(cluster, 0), c.most);
    for (int turns = 0; !cluster.all_done(0); ++turns) {
      ASSERT_LT(turns, 10'000);
      cluster[turns % 3].progress();
      EXPECT_LE(num_landed(cluster, 0), num_added(cluster) + c.most);
    }
    buffers.check();
  }
}

TEST(Executor, KeepingCloseToTheAddsInEveryOrder) {
  unsigned seed = 100;
  for (const auto& nodes : {std::vector<int>{2}, {5}, {1, 3, 2}}) {
    for (uint64_t ahead : {1, 3}) {
      EngineCluster cluster({.ranks_per_node = nodes,
                             .window = 8,
                             .chunk_bytes = 4096,
                             .staged = true,
                             .copies_ahead = ahead,
                             .copies_together = ahead == 3 ? 2u : 1u});
      run_in_random_turns(cluster, {1, 20'000, 0, 513, 9000, 3, 70'000}, ++seed);
    }
  }
}

// A node of one rank: what it puts lies in staging, but for an input to which nothing is added.
TEST(Executor, NoSumIsCopiedToBeSent) {
  for (const char* forest : {"tree", "ring"}) {
    for (bool in_place : {false, true}) {
      EngineCluster cluster({.ranks_per_node = {1, 1, 1, 1, 1},
                             .window = 4,
                             .chunk_bytes = 4096,
                             .forest = forest,
                             .copies = true});
      const size_t count = 70'000;
      Buffers buffers(5, count, in_place);
      submit_all(cluster, buffers);
      while (!cluster.all_done(0)) cluster.turn();
      buffers.check();
      size_t num_copied = 0;
      for (int rank = 0; rank < 5; ++rank) {
        for (const void* at : cluster.copied(rank)) EXPECT_TRUE(buffers.is_input(rank, at));
        num_copied += cluster.copied(rank).size();
      }
      // At most every chunk of the message at every node but one.
      EXPECT_GT(num_copied, 0u);
      EXPECT_LE(num_copied, 4 * (count * sizeof(int64_t) / 4096 + 1));
    }
  }
}

// Chunks large enough that several threads share each.
TEST(Executor, ThreadsOfAllRanksAddForEach) {
  for (const auto& nodes : {std::vector<int>{3}, {2, 1}, {1, 3, 2}}) {
    EngineCluster cluster({.ranks_per_node = nodes,
                           .window = 4,
                           .chunk_bytes = 262'144,
                           .staged = true,
                           .add_threads = 2});
    std::vector<Buffers> train;
    for (size_t count : {300'000u, 5u, 131'072u, 299'999u}) {
      train.emplace_back(cluster.num_ranks(), count, count % 2 == 1);
      submit_all(cluster, train.back());
    }
    while (!cluster.all_done(train.size() - 1)) {
      if (!cluster.turn()) sched_yield();
    }
    for (int rank = 0; rank < cluster.num_ranks(); ++rank) EXPECT_FALSE(cluster[rank].failed());
    for (const Buffers& buffers : train) buffers.check();
  }
}

// A result that goes past the caches must not be there before the last input has been added.
TEST(Executor, MoreInputsThanAKernelTakesInPlaceAndStreamed) {
  EngineCluster cluster(
      {.ranks_per_node = {20}, .window = 40, .chunk_bytes = 4096, .streaming_bytes = 1});
  Buffers buffers(20, 60'000, true);
  submit_all(cluster, buffers);
  while (!cluster.all_done(0)) cluster.turn();
  buffers.check();
}

INSTANTIATE_TEST_SUITE_P(Executor, RandomTurns, testing::ValuesIn(all_cases()),
                         testing::PrintToStringParamName());

TEST(Executor, TakesSoManyAndNoMore) {
  EngineCluster cluster({.ranks_per_node = {2}});
  Buffers buffers(2, 10, false);
  for (uint64_t i = 0; i < hfr::Executor::kMaxSubmitted; ++i) {
    ASSERT_EQ(cluster[0].submit(buffers.descriptor(0)), i);
  }
  EXPECT_FALSE(cluster[0].submit(buffers.descriptor(0)));
  for (uint64_t i = 0; i < hfr::Executor::kMaxSubmitted; ++i) {
    ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  }
  while (!cluster.all_done(hfr::Executor::kMaxSubmitted - 1)) cluster.turn();
  buffers.check();
  EXPECT_TRUE(cluster[0].submit(buffers.descriptor(0)));
}

TEST(Executor, WaitsUntilTheInputIsReady) {
  EngineCluster cluster({.ranks_per_node = {1, 1}});
  Buffers buffers(2, 1000, false);
  hfr::OpDescriptor late = buffers.descriptor(0);
  late.ready = false;
  ASSERT_TRUE(cluster[0].submit(late));
  ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  for (int i = 0; i < 100; ++i) cluster.turn();
  EXPECT_FALSE(cluster[1].done(0));
  EXPECT_FALSE(cluster[0].all_ready());
  cluster[0].set_ready(0);
  while (!cluster.all_done(0)) cluster.turn();
  buffers.check();
}

class Failing : public testing::TestWithParam<bool> {};

// After fail() returns, nobody touches the buffers of the rank that failed, however far along the
// others were.
TEST_P(Failing, BuffersAreTheCallersAgain) {
  for (int turns = 0; turns < 60; ++turns) {
    EngineCluster cluster(
        {.ranks_per_node = {2, 2}, .window = 2, .chunk_bytes = 4096, .direct = GetParam()});
    auto buffers = std::make_unique<Buffers>(cluster.num_ranks(), 5000, turns % 2 == 0);
    submit_all(cluster, *buffers);
    for (int i = 0; i < turns; ++i) cluster.turn();
    if (cluster.all_done(0)) break;
    cluster[1].fail({hfr::Status(hfr::Code::kAborted, "the test says so"), 1});
    std::vector<int64_t> mine(buffers->recv(1).size(), 77);
    buffers->recv(1) = mine;
    for (int i = 0; i < 500; ++i) cluster.turn();
    EXPECT_EQ(buffers->recv(1), mine) << "after " << turns << " turns";
    EXPECT_TRUE(cluster[0].failed()) << "the node's other rank reads the failure";
    EXPECT_EQ(cluster[0].failure().status.message(), "the test says so");
    EXPECT_EQ(cluster[0].failure().rank, 1);
  }
}
INSTANTIATE_TEST_SUITE_P(Executor, Failing, testing::Bool());

TEST(Executor, MismatchInANodeNamesBoth) {
  EngineCluster cluster({.ranks_per_node = {2}});
  Buffers small(2, 10, false), large(2, 11, false);
  ASSERT_TRUE(cluster[0].submit(small.descriptor(0)));
  ASSERT_TRUE(cluster[1].submit(large.descriptor(1)));
  for (int i = 0; i < 10; ++i) cluster.turn();
  for (int rank : {0, 1}) {
    ASSERT_TRUE(cluster[rank].failed());
    EXPECT_EQ(cluster[rank].failure().status.code(), hfr::Code::kMismatch);
    EXPECT_THAT(cluster[rank].failure().status.message(),
                testing::AllOf(HasSubstr("10 int64"), HasSubstr("11 int64")));
  }
}

TEST(Executor, MismatchBetweenNodesNamesBoth) {
  for (size_t count : {20u, 9000u}) {
    for (bool blocking : {false, true}) {
      EngineCluster cluster({.ranks_per_node = {1, 1}});
      Buffers common(2, count, false), odd(2, count, false);
      hfr::OpDescriptor other = odd.descriptor(1);
      other.op = hfr::Op::kMax;
      ASSERT_TRUE(cluster[0].submit(common.descriptor(0)));
      cluster[0].progress();
      ASSERT_TRUE(blocking ? cluster[1].submit_and_finish(other, 5) : cluster[1].submit(other));
      if (blocking) {
        EXPECT_TRUE(cluster[1].failed());
      }
      for (int i = 0; i < 200; ++i) cluster.turn();
      ASSERT_TRUE(cluster[0].failed() || cluster[1].failed());
      int finder = cluster[0].failed() ? 0 : 1;
      EXPECT_THAT(cluster[finder].failure().status.message(),
                  testing::AllOf(HasSubstr("max"), HasSubstr("sum"), HasSubstr("rank 0"),
                                 HasSubstr("rank 1")));
    }
  }
}

TEST(Executor, StallsNameTheRankAndTheStage) {
  constexpr uint64_t kSecond = 1'000'000'000;
  EngineCluster cluster({.ranks_per_node = {2, 1}});
  Buffers buffers(3, 50'000, false);
  ASSERT_TRUE(cluster[0].submit(buffers.descriptor(0)));
  cluster.turn();
  EXPECT_FALSE(cluster[0].check(cluster.clock().now));
  cluster.clock().now += kSecond + 1;
  auto stall = cluster[0].check(cluster.clock().now);
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->wait.rank, 1);
  EXPECT_EQ(wait_text(stall->wait), "starting it");
  EXPECT_THAT(stall->operation, HasSubstr("50000 int64"));
  // The node is complete; now the other node is missing.
  ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  while (cluster.turn()) {
  }
  stall = cluster[0].check(cluster.clock().now);
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->wait.rank, 2);
  EXPECT_THAT(wait_text(stall->wait), HasSubstr("chunk"));
  EXPECT_FALSE(stall->peer_lost);
}

// Local rank 1's thread has a part of rank 0's add, and does not go on.
class StuckPool : public hfr::InlinePool {
 public:
  StuckPool() : InlinePool(**hfr::select_kernel_table("scalar")) {}
  bool submit(const hfr::ReduceDescriptor&, hfr::Token) override { return true; }
  int holder(hfr::Token) const override { return 1; }
};

EngineCluster with_a_stuck_pool() {
  return EngineCluster({.ranks_per_node = {1, 2},
                        .chunk_bytes = 262'144,
                        .staged = true,
                        .rank_with_pool = 1,
                        .make_pool = [] { return std::make_unique<StuckPool>(); }});
}

TEST(Executor, AStallInAnAddNamesWhoHasAPart) {
  EngineCluster cluster = with_a_stuck_pool();
  Buffers buffers(3, 100'000, false);
  submit_all(cluster, buffers);
  while (cluster.turn()) {
  }
  EXPECT_FALSE(cluster[1].check(cluster.clock().now));
  cluster.clock().now += 1'000'000'001;
  auto stall = cluster[1].check(cluster.clock().now);
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->wait.rank, 2);
  EXPECT_THAT(wait_text(stall->wait), HasSubstr("adding its part of chunk"));
}

// When the control plane knows sooner that it is dead, nobody waits for the deadline.
TEST(Executor, AFailureEndsAnAddThatIsStuck) {
  EngineCluster cluster = with_a_stuck_pool();
  Buffers buffers(3, 100'000, false);
  submit_all(cluster, buffers);
  while (cluster.turn()) {
  }
  cluster[2].fail({hfr::Status(hfr::Code::kRemoteError, "rank 2 died"), 2});
  cluster[1].progress();
  ASSERT_TRUE(cluster[1].failed());
  EXPECT_EQ(cluster[1].failure().rank, 2);
  EXPECT_EQ(cluster[1].failure().status.message(), "rank 2 died");
}

}  // namespace
}  // namespace hfr_tests
