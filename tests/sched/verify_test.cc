// verify on the schedules that the library builds.
#include "sched/verify.hpp"

#include <gtest/gtest.h>

namespace hfr {
namespace {

ForestSchedules schedules_of(const Forest& forest) {
  ForestSchedules schedules;
  for (const Tree& tree : forest) schedules.push_back(build_tree_all_reduce(tree));
  return schedules;
}

TEST(Verify, DoubleBinaryTreeForEveryNodeCount) {
  for (int n = 1; n <= 256; ++n) {
    const Status status = verify(schedules_of(double_binary_tree(n)), 4);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
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
    const Status status = verify({build_butterfly_all_reduce(n)}, 3);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
  }
}

TEST(Verify, AllLanesAndOrdersOfAMixedTrain) {
  for (int n = 2; n <= 9; ++n) {
    const std::vector<ForestSchedules> forests = {schedules_of(double_binary_tree(n)),
                                                  schedules_of(ring(n)),
                                                  {build_butterfly_all_reduce(n)}};
    const int window = 2 * n;
    // In each lane: every sequence of five forests, over and over.
    for (int code = 0; code < 243; ++code) {
      std::vector<int> order;
      for (int generation = 0, left = code; generation < 5; ++generation, left /= 3) {
        order.insert(order.end(), static_cast<size_t>(window), left % 3);
      }
      const Status status = verify_train(forests, order, window);
      ASSERT_TRUE(status.ok()) << n << " nodes, code " << code << ": " << status.message();
    }
  }
}

// The window rule is what the library promises, not all that safety needs: a lane that changes
// between the trees of an all-reduce is proved as well, which trains that change forests rely on.
TEST(Verify, LanesMayChangeBetweenTrees) {
  for (int n = 2; n <= 64; ++n) {
    const Forest forest = double_binary_tree(n);
    const ForestSchedules first = {build_tree_all_reduce(forest[0])};
    const ForestSchedules second = {build_tree_all_reduce(forest[1])};
    const Status status = verify_train({first, second}, {0, 1}, 3);
    ASSERT_TRUE(status.ok()) << n << " nodes: " << status.message();
  }
}

}  // namespace
}  // namespace hfr
