// verify on the schedules that the library builds, and on broken ones.
#include "sched/verify.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/text.hpp"

namespace hfr {
namespace {

using testing::HasSubstr;

std::vector<ScheduleSet> schedules_of(const Forest& forest) {
  std::vector<ScheduleSet> cycle;
  for (const Tree& tree : forest) cycle.push_back(build_tree_all_reduce(tree));
  return cycle;
}

TEST(Verify, DoubleBinaryTreeForEveryNodeCount) {
  for (int n = 1; n <= 256; ++n) {
    const std::vector<ScheduleSet> cycle = schedules_of(double_binary_tree(n));
    const Status status = verify(cycle, 4);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
  }
}

TEST(Verify, Windows) {
  for (int n : {2, 5, 8}) {
    for (int window : {2, 4, 6, 8, 64}) {
      EXPECT_TRUE(verify(schedules_of(double_binary_tree(n)), window).ok());
      EXPECT_TRUE(verify(schedules_of(ring(n)), window * n).ok());
    }
  }
}

TEST(Verify, Ring) {
  for (int n = 1; n <= 64; ++n) {
    const Status status = verify(schedules_of(ring(n)), 2 * n);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
  }
}

TEST(Verify, ButterflyForEveryNodeCount) {
  for (int n = 1; n <= 256; ++n) {
    for (int window : {1, 2, 3}) {
      const Status status = verify({build_butterfly_all_reduce(n)}, window);
      ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
    }
  }
}

// In each lane every sequence of five operations' forests.
TEST(Verify, MixedTrains) {
  constexpr int kGenerations = 5;
  for (int n = 2; n <= 9; ++n) {
    const std::vector<std::vector<ScheduleSet>> forests = {schedules_of(double_binary_tree(n)),
                                                           schedules_of(ring(n)),
                                                           {build_butterfly_all_reduce(n)}};
    const int window = std::lcm(2, n);
    for (int code = 0; code < 243; ++code) {
      std::vector<const ScheduleSet*> train;
      for (int generation = 0, left = code; generation < kGenerations; ++generation, left /= 3) {
        const std::vector<ScheduleSet>& forest = forests[static_cast<size_t>(left % 3)];
        for (int lane = 0; lane < window; ++lane) {
          train.push_back(&forest[train.size() % forest.size()]);
        }
      }
      const Status status = verify_train(train, window);
      ASSERT_TRUE(status.ok()) << n << " nodes, code " << code << ": " << status.message();
    }
  }
}

TEST(Verify, WindowMustBeAMultipleOfTheTrees) {
  for (int window : {-2, 0, 1, 3, 5}) {
    const Status status = verify(schedules_of(double_binary_tree(4)), window);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(cat("a window of ", window,
                                                " lanes is not a multiple "
                                                "of the 2 trees")));
  }
  EXPECT_FALSE(verify(schedules_of(ring(3)), 4).ok());
  EXPECT_FALSE(verify({}, 2).ok());
}

// The window rule is what the library promises, not all that safety needs: a lane that changes
// between the trees of an all-reduce is proved as well, and trains that change forests rely on it.
TEST(Verify, LanesMayChangeBetweenTrees) {
  for (int n = 2; n <= 64; ++n) {
    const std::vector<ScheduleSet> cycle = schedules_of(double_binary_tree(n));
    std::vector<const ScheduleSet*> train;
    for (size_t chunk = 0; chunk < 18; ++chunk) train.push_back(&cycle[chunk % 2]);
    const Status status = verify_train(train, 3);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
  }
}

TEST(Verify, RefusesWhatIsNoSetOfSchedules) {
  const ScheduleSet of_three = build_butterfly_all_reduce(3);
  ScheduleSet exchanged = of_three;
  std::swap(exchanged[0], exchanged[1]);
  EXPECT_THAT(verify({exchanged}, 1).message(),
              HasSubstr("node 0, chunk 0: has the schedule of node 1"));
  EXPECT_THAT(verify({of_three, build_butterfly_all_reduce(4)}, 2).message(),
              HasSubstr("4 nodes, chunk 1: chunk 0 has 3 nodes"));
  EXPECT_FALSE(verify({ScheduleSet{}}, 1).ok());
  EXPECT_FALSE(verify_train({}, 1).ok());
  EXPECT_FALSE(verify_train({&of_three}, 0).ok());
}

// Five nodes, a window of four. Tree 0:      3
//                                          1   4     chunks 0, 2, 4, ...
//                                         0 2
class Broken : public testing::Test {
 protected:
  std::vector<Step>& steps(int node) { return cycle_[0][static_cast<size_t>(node)].steps; }
  void erase(int node, size_t step) {
    steps(node).erase(steps(node).begin() + static_cast<std::ptrdiff_t>(step));
  }
  void insert(int node, size_t at, const Step& step) {
    steps(node).insert(steps(node).begin() + static_cast<std::ptrdiff_t>(at), step);
  }
  // Node, step and chunk are named as `where` has them.
  void expect_broken(const std::string& where, const std::string& what) {
    const Status status = verify(cycle_, 4);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(), testing::StartsWith(where));
    EXPECT_THAT(status.message(), HasSubstr(what));
  }
  std::vector<ScheduleSet> cycle_ = schedules_of(double_binary_tree(5));
};

TEST_F(Broken, TheDrawingIsRight) {
  EXPECT_EQ(double_binary_tree(5)[0].parent, (std::vector<int>{1, 3, 1, -1, 3}));
}
TEST_F(Broken, APutIsMissing) {
  erase(0, 1);
  expect_broken("node 0, step 1 (receive result (from node 1)), chunk 0", "waits for ever");
}
TEST_F(Broken, AChildIsLeftOut) {
  steps(1)[0].srcs.pop_back();
  expect_broken("node 3, step 3 (publish), chunk 0", "a sum without node 2's input");
}
TEST_F(Broken, AChildIsAskedForThatDoesNotExist) {
  steps(0)[0].srcs.push_back({SlotKind::kChild, 0, 2});
  expect_broken("node 0, step 0 (add result = local inputs + child 0 (from node 2)), chunk 0",
                "waits for ever");
}
TEST_F(Broken, AnInputIsAddedTwice) {
  steps(3)[0].srcs.push_back({SlotKind::kLocal});
  expect_broken("node 3, step 3 (publish), chunk 0", "node 3's input 2 times");
}
TEST_F(Broken, AnInputIsMissing) {
  steps(3)[0].srcs.erase(steps(3)[0].srcs.begin());
  expect_broken("node 3, step 3 (publish), chunk 0", "a sum without node 3's input");
}
TEST_F(Broken, APutIsDoubled) {
  insert(0, 1, steps(0)[1]);
  expect_broken("node 0, step 2 (put result to node 1's child 0), chunk 0",
                "may overwrite what node 0 put there for chunk 0 before node 1 has read it");
}
TEST_F(Broken, TheFinalValueIsSentTwice) {
  insert(1, 4, steps(1)[3]);
  expect_broken("node 1, step 4 (put result to node 0's result), chunk 0", "node 0");
}
TEST_F(Broken, APutGoesToItsOwnNode) {
  steps(0)[1].peer = 0;
  expect_broken("node 0, step 1 (put result to node 0's child 0), chunk 0", "puts to node 0");
}
TEST_F(Broken, APutGoesToTheWrongNode) {
  steps(0)[1].peer = 3;
  EXPECT_FALSE(verify(cycle_, 4).ok());
}
TEST_F(Broken, APutGoesToTheWrongSlot) {
  steps(0)[1].dst.idx = 1;
  EXPECT_FALSE(verify(cycle_, 4).ok());
}
TEST_F(Broken, APutGoesToASlotThatThereIsNot) {
  steps(0)[1].dst.idx = 2;
  expect_broken("node 0, step 1 (put result to node 1's child 2), chunk 0", "child slot 2 of 2");
}
TEST_F(Broken, ThePutsOfAnInnerNodeAreExchanged) {
  // Down before up: the children get a partial sum.
  std::swap(steps(1)[1], steps(1)[3]);
  EXPECT_FALSE(verify(cycle_, 4).ok());
}
TEST_F(Broken, TheAverageIsNotDivided) {
  steps(3)[0].final = false;
  expect_broken("node 3, step 3 (publish), chunk 0", "no add marked final");
}
TEST_F(Broken, TheAverageIsDividedTwice) {
  steps(1)[0].final = true;
  expect_broken("node 3, step 0 (add", "adds child 0 (from node 1), which is final");
}
TEST_F(Broken, AResultIsPublishedTooSoon) {
  std::swap(steps(0)[1], steps(0)[3]);
  expect_broken("node 0, step 1 (publish), chunk 0", "without node 1's input");
}
TEST_F(Broken, AResultIsPublishedTwice) {
  insert(0, 3, steps(0)[3]);
  expect_broken("node 0, after its last step, chunk 0", "published 2 times");
}
TEST_F(Broken, TheWrongChildIsBlamed) {
  steps(1)[0].srcs[1].from = 2;
  expect_broken("node 1, step 0 (add", "takes what node 0 sent");
}

// A butterfly without two copies of its slots: child slots have one.
TEST(Verify, AButterflyNeedsTwoCopiesOfItsSlots) {
  ScheduleSet schedules = build_butterfly_all_reduce(4);
  ASSERT_TRUE(verify({schedules}, 1).ok());
  for (Schedule& schedule : schedules) {
    for (Step& step : schedule.steps) {
      if (step.dst.kind == SlotKind::kRound) step.dst.kind = SlotKind::kChild;
      for (SlotRef& src : step.srcs) {
        if (src.kind == SlotKind::kRound) src.kind = SlotKind::kChild;
      }
    }
  }
  const Status status = verify({schedules}, 3);
  EXPECT_THAT(status.message(),
              testing::MatchesRegex(
                  "node [0-3], step [0-9] \\(put result to node [0-3]'s child 0\\), chunk 3: "
                  "may overwrite what node [0-3] put there for chunk 0 before node [0-3] has "
                  "read it"));
}

// Both partners add, each its own value first: the sums are right and their bits may differ.
TEST(Verify, EveryNodeAddsInTheSameOrder) {
  ScheduleSet schedules = build_butterfly_all_reduce(2);
  std::swap(schedules[1].steps[2].srcs[0], schedules[1].steps[2].srcs[1]);
  EXPECT_THAT(verify({schedules}, 1).message(), HasSubstr("added in another order"));
}

}  // namespace
}  // namespace hfr
