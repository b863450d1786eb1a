#include "topo/tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace hfr {
namespace {

void expect_spanning(const Tree& tree, int num_nodes) {
  ASSERT_EQ(tree.num_nodes(), num_nodes);
  int roots = 0;
  std::set<int> reached;
  for (int node = 0; node < num_nodes; ++node) {
    int parent = tree.parent[static_cast<size_t>(node)];
    if (parent < 0) {
      ++roots;
    } else {
      const auto& siblings = tree.children[static_cast<size_t>(parent)];
      EXPECT_EQ(std::count(siblings.begin(), siblings.end(), node), 1);
    }
    const auto& children = tree.children[static_cast<size_t>(node)];
    EXPECT_LE(children.size(), static_cast<size_t>(kMaxChildren));
    EXPECT_TRUE(std::is_sorted(children.begin(), children.end()));
  }
  EXPECT_EQ(roots, 1);
  std::vector<int> open = {tree.root()};
  while (!open.empty()) {
    int node = open.back();
    open.pop_back();
    EXPECT_TRUE(reached.insert(node).second);
    for (int child : tree.children[static_cast<size_t>(node)]) open.push_back(child);
  }
  EXPECT_EQ(reached.size(), static_cast<size_t>(num_nodes));
}

TEST(DoubleBinaryTree, EveryNodeCountTo256) {
  for (int n = 1; n <= 256; ++n) {
    SCOPED_TRACE(n);
    Forest forest = double_binary_tree(n);
    ASSERT_EQ(forest.size(), n == 1 ? 1u : 2u);
    for (const Tree& tree : forest) {
      expect_spanning(tree, n);
      EXPECT_LE(tree.depth(), static_cast<int>(std::floor(std::log2(n))) + 1);
    }
    if (n == 1) continue;
    int least = n;
    int most = 0;
    for (int node = 0; node < n; ++node) {
      auto children = [&](int t) {
        return static_cast<int>(
            forest[static_cast<size_t>(t)].children[static_cast<size_t>(node)].size());
      };
      EXPECT_FALSE(children(0) > 0 && children(1) > 0)
          << "node " << node << " is interior in both trees";
      least = std::min(least, children(0) + children(1));
      most = std::max(most, children(0) + children(1));
    }
    EXPECT_LE(most, 2);
    // Only one node at most is a leaf in both, when n is odd; nobody is without work when n is
    // even.
    EXPECT_GE(least, n % 2 == 0 ? 1 : 0);
  }
}

TEST(Ring, EveryNodeSendsTheSame) {
  for (int n = 2; n <= 64; ++n) {
    Forest forest = ring(n);
    ASSERT_EQ(forest.size(), static_cast<size_t>(n));
    for (const Tree& tree : forest) {
      expect_spanning(tree, n);
      EXPECT_EQ(tree.depth(), n - 1);
    }
    EXPECT_NEAR(forest_cost(forest).busiest_send, 2.0 * (n - 1) / n, 1e-9);
  }
}

TEST(ForestCost, FourNodes) {
  EXPECT_DOUBLE_EQ(forest_cost(double_binary_tree(4)).busiest_send, 2.0);
  EXPECT_DOUBLE_EQ(forest_cost(ring(4)).busiest_send, 1.5);
  EXPECT_EQ(forest_cost(ring(4)).hops, 6);
}

TEST(ChooseForest, RingForLargeMessagesOnFewNodesOnly) {
  LinkModel link;
  EXPECT_EQ(choose_forest(4, size_t{64} << 20, link), ForestKind::kRing);
  EXPECT_EQ(choose_forest(4, 1024, link), ForestKind::kDoubleBinaryTree);
  EXPECT_EQ(choose_forest(2, size_t{64} << 20, link), ForestKind::kDoubleBinaryTree);
  EXPECT_EQ(choose_forest(64, size_t{1} << 20, link), ForestKind::kDoubleBinaryTree);
}

}  // namespace
}  // namespace hfr
