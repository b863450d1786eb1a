// The builders' schedules, step by step.
#include "sched/schedule.hpp"

#include <gtest/gtest.h>

namespace hfr {
namespace {

TEST(TreeSchedule, OneNodeAddsAndPublishes) {
  EXPECT_EQ(dump(build_tree_all_reduce(double_binary_tree(1)[0])[0]),
            "node 0\n"
            "  add result = local inputs, final\n"
            "  publish\n");
}

TEST(TreeSchedule, LeafInnerNodeAndRoot) {
  const ScheduleSet schedules = build_tree_all_reduce(double_binary_tree(4)[0]);
  EXPECT_EQ(dump(schedules[0]),
            "node 0\n"
            "  add result = local inputs\n"
            "  put result to node 1's child 0\n"
            "  receive result (from node 1)\n"
            "  publish\n");
  EXPECT_EQ(dump(schedules[1]),
            "node 1\n"
            "  add result = local inputs + child 0 (from node 0) + child 1 (from node 2)\n"
            "  put result to node 3's child 0\n"
            "  receive result (from node 3)\n"
            "  put result to node 0's result\n"
            "  put result to node 2's result\n"
            "  publish\n");
  EXPECT_EQ(dump(schedules[3]),
            "node 3\n"
            "  add result = local inputs + child 0 (from node 1), final\n"
            "  put result to node 1's result\n"
            "  publish\n");
}

TEST(TreeSchedule, OnlyTheRootMakesTheFinalValue) {
  for (int n = 1; n <= 64; ++n) {
    for (const Tree& tree : double_binary_tree(n)) {
      const ScheduleSet schedules = build_tree_all_reduce(tree);
      for (int node = 0; node < n; ++node) {
        EXPECT_EQ(has_final_add(schedules[static_cast<size_t>(node)]), node == tree.root());
      }
    }
  }
}

TEST(Butterfly, ThreeNodesFoldOneIn) {
  const ScheduleSet schedules = build_butterfly_all_reduce(3);
  EXPECT_EQ(dump(schedules[0]),
            "node 0\n"
            "  add result = local inputs\n"
            "  add result = result + round 1 (from node 2)\n"
            "  put result to node 1's round 0\n"
            "  add result = result + round 0 (from node 1), final\n"
            "  put result to node 2's result\n"
            "  publish\n");
  EXPECT_EQ(dump(schedules[1]),
            "node 1\n"
            "  add result = local inputs\n"
            "  put result to node 0's round 0\n"
            "  add result = round 0 (from node 0) + result, final\n"
            "  publish\n");
  EXPECT_EQ(dump(schedules[2]),
            "node 2\n"
            "  add result = local inputs\n"
            "  put result to node 0's round 1\n"
            "  receive result (from node 0)\n"
            "  publish\n");
}

TEST(Butterfly, RoundsGrowWithTheLogarithm) {
  EXPECT_EQ(butterfly_rounds(1), 0);
  EXPECT_EQ(butterfly_rounds(2), 1);
  EXPECT_EQ(butterfly_rounds(3), 2);
  EXPECT_EQ(butterfly_rounds(4), 2);
  EXPECT_EQ(butterfly_rounds(5), 3);
  EXPECT_EQ(butterfly_rounds(8), 3);
  EXPECT_EQ(butterfly_rounds(9), 4);
}

}  // namespace
}  // namespace hfr
