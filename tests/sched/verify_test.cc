#include "sched/verify.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "sched/schedule.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<ScheduleSet> schedules_of(const Forest& forest) {
  std::vector<ScheduleSet> cycle;
  for (const Tree& tree : forest) cycle.push_back(build_tree_all_reduce(tree));
  return cycle;
}

TEST(Verify, DoubleBinaryTrees) {
  for (int n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 17, 31, 33}) {
    auto cycle = schedules_of(double_binary_tree(n));
    for (int window : {2, 4, 8}) {
      Status status = verify(cycle, window);
      EXPECT_TRUE(status.ok()) << n << " nodes, window " << window << ": " << status.message();
    }
  }
}

TEST(Verify, ManyNodes) {
  Status status = verify(schedules_of(double_binary_tree(64)), 2);
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Verify, Rings) {
  for (int n = 2; n <= 8; ++n) {
    Status status = verify(schedules_of(ring(n)), n);
    EXPECT_TRUE(status.ok()) << n << " nodes: " << status.message();
    EXPECT_TRUE(verify(schedules_of(ring(n)), 2 * n).ok());
  }
}

TEST(Verify, Butterflies) {
  for (int n = 2; n <= 20; ++n) {
    for (int window : {1, 2, 4}) {
      Status status = verify({build_butterfly_all_reduce(n)}, window);
      EXPECT_TRUE(status.ok()) << n << " nodes: " << status.message();
    }
  }
}

TEST(Verify, KindsMixedInOneTrain) {
  for (int n : {2, 3, 4, 5, 6, 8}) {
    auto tree = schedules_of(double_binary_tree(n));
    auto paths = schedules_of(ring(n));
    ScheduleSet butterfly = build_butterfly_all_reduce(n);
    const int window = std::lcm(2, n);
    std::mt19937 random(static_cast<unsigned>(n));
    for (int round = 0; round < 4; ++round) {
      std::vector<const ScheduleSet*> train;
      while (train.size() < static_cast<size_t>(4 * window)) {
        size_t chunk = train.size();
        switch (random() % 3) {
          case 0:
            train.push_back(&tree[chunk % tree.size()]);
            break;
          case 1:
            train.push_back(&paths[chunk % paths.size()]);
            break;
          default:
            train.push_back(&butterfly);
        }
      }
      Status status = verify_train(train, window);
      EXPECT_TRUE(status.ok()) << n << " nodes: " << status.message();
    }
  }
}

TEST(Verify, WindowMustBeAMultipleOfTheTrees) {
  for (int window : {1, 3, 5}) {
    Status status = verify(schedules_of(double_binary_tree(4)), window);
    EXPECT_THAT(status.message(), HasSubstr("not a multiple of the 2 trees")) << window;
  }
  EXPECT_FALSE(verify(schedules_of(ring(3)), 4).ok());
  EXPECT_FALSE(verify(schedules_of(ring(3)), 0).ok());
}

// Each way to break a schedule, and what the sentence must say.
class Broken : public testing::Test {
 protected:
  void SetUp() override { cycle_ = schedules_of(double_binary_tree(5)); }
  std::vector<Step>& steps(int node) { return cycle_[0][static_cast<size_t>(node)].steps; }
  // A node that has a parent and children in tree 0.
  int interior() const {
    for (int node = 0;; ++node) {
      const auto& s = cycle_[0][static_cast<size_t>(node)].steps;
      if (s[0].srcs.size() > 1 && !s[0].final) return node;
    }
  }
  int root() const {
    for (int node = 0;; ++node) {
      if (cycle_[0][static_cast<size_t>(node)].steps[0].final) return node;
    }
  }
  int leaf() const {
    for (int node = 0;; ++node) {
      if (cycle_[0][static_cast<size_t>(node)].steps[0].srcs.size() == 1) return node;
    }
  }
  void expect_broken(const std::string& text) {
    Status status = verify(cycle_, 4);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("node "), HasSubstr("chunk "), HasSubstr(text)));
  }
  std::vector<ScheduleSet> cycle_;
};

TEST_F(Broken, APutIsMissing) {
  auto& s = steps(leaf());
  s.erase(s.begin() + 1);
  expect_broken("waits for ever");
}
TEST_F(Broken, AChildIsLeftOut) {
  steps(root())[0].srcs.pop_back();
  expect_broken("");
}
TEST_F(Broken, AnInputIsAddedTwice) {
  steps(root())[0].srcs.push_back({SlotKind::kLocal, 0});
  expect_broken("2 times");
}
TEST_F(Broken, APutIsDoubled) {
  auto& s = steps(leaf());
  s.insert(s.begin() + 1, s[1]);
  expect_broken("");
}
TEST_F(Broken, APutGoesToTheWrongNode) {
  steps(leaf())[1].peer = leaf();
  expect_broken("puts to node");
}
TEST_F(Broken, APutGoesToTheWrongSlot) {
  steps(leaf())[1].dst.idx = 1;
  expect_broken("");
}
TEST_F(Broken, TheAverageIsNotDivided) {
  steps(root())[0].final = false;
  expect_broken("divided 0 times");
}
TEST_F(Broken, TheAverageIsDividedTwice) {
  steps(interior())[0].final = true;
  expect_broken("divided 2 times");
}
TEST_F(Broken, AResultIsPublishedTooSoon) {
  auto& s = steps(leaf());
  s.insert(s.begin() + 1, s.back());
  expect_broken("publishes a value that holds");
}
TEST_F(Broken, NothingIsPublished) {
  steps(leaf()).pop_back();
  expect_broken("never publishes");
}
TEST_F(Broken, AChildDoesNotWaitForTheResult) {
  // It starts its next chunk without proof that its last sum was read.
  auto& s = steps(leaf());
  for (auto it = s.begin(); it != s.end(); ++it) {
    if (it->kind == StepKind::kReceive) {
      s.erase(it);
      break;
    }
  }
  expect_broken("");
}

TEST(Schedule, DumpNamesEveryStep) {
  auto schedules = build_tree_all_reduce(double_binary_tree(4)[0]);
  EXPECT_EQ(dump(schedules[0]),
            "node 0\n"
            "  add result = local inputs\n"
            "  put result to node 1's child 0\n"
            "  receive result (from node 1)\n"
            "  publish\n");
}

TEST(Schedule, ButterflyRounds) {
  EXPECT_EQ(butterfly_rounds(1), 0);
  EXPECT_EQ(butterfly_rounds(2), 1);
  EXPECT_EQ(butterfly_rounds(3), 2);
  EXPECT_EQ(butterfly_rounds(8), 3);
  EXPECT_EQ(butterfly_rounds(9), 4);
}

}  // namespace
}  // namespace hfr
