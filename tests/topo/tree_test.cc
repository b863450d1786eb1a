// Trees, exhaustively for every number of nodes up to kMostNodes.
#include "topo/tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <sstream>
#include <string>

namespace hfr {
namespace {

constexpr int kMostNodes = 256;

int floor_log2(int n) { return std::bit_width(static_cast<unsigned>(n)) - 1; }

size_t at(int node) { return static_cast<size_t>(node); }

// Parent and children agree, there is one root, and every node is reached from it once.
void expect_spans(const Tree& tree, int num_nodes) {
  ASSERT_EQ(tree.num_nodes(), num_nodes);
  ASSERT_EQ(tree.children.size(), at(num_nodes));
  EXPECT_EQ(std::count(tree.parent.begin(), tree.parent.end(), -1), 1);
  std::vector<int> reached = {tree.root()};
  std::vector<int> visits(at(num_nodes), 0);
  for (size_t i = 0; i < reached.size() && i < at(num_nodes); ++i) {
    const int node = reached[i];
    ++visits[at(node)];
    const std::vector<int>& children = tree.children[at(node)];
    EXPECT_LE(children.size(), at(kMaxChildren));
    EXPECT_TRUE(std::is_sorted(children.begin(), children.end()));
    for (int child : children) {
      EXPECT_EQ(tree.parent[at(child)], node);
      reached.push_back(child);
    }
  }
  EXPECT_EQ(reached.size(), at(num_nodes));
  EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), num_nodes);
}

class EveryNodeCount : public testing::Test {
 protected:
  template <typename Check>
  void for_each(Check&& check) {
    for (int n = 1; n <= kMostNodes && !HasFailure(); ++n) {
      SCOPED_TRACE(testing::Message() << n << " nodes");
      check(n);
    }
  }
};

TEST_F(EveryNodeCount, BothTreesSpanAndAreShallow) {
  for_each([](int n) {
    const Forest forest = double_binary_tree(n);
    ASSERT_EQ(forest.size(), n == 1 ? 1u : 2u);
    for (const Tree& tree : forest) {
      expect_spans(tree, n);
      EXPECT_LE(tree.depth(), floor_log2(n));
    }
  });
}

TEST_F(EveryNodeCount, NoNodeIsInteriorInBothTrees) {
  for_each([](int n) {
    if (n == 1) return;
    const Forest forest = double_binary_tree(n);
    int interior = 0;
    for (int node = 0; node < n; ++node) {
      const int in_first = forest[0].children[at(node)].empty() ? 0 : 1;
      const int in_second = forest[1].children[at(node)].empty() ? 0 : 1;
      EXPECT_LE(in_first + in_second, 1) << "node " << node;
      interior += in_first + in_second;
    }
    // With an odd number one node is a leaf in both; that cannot be helped and nobody has more to
    // do for it.
    EXPECT_EQ(interior, n % 2 == 0 ? n : n - 1);
    EXPECT_NE(forest[0].root(), forest[1].root());
  });
}

TEST_F(EveryNodeCount, LoadIsBalanced) {
  for_each([](int n) {
    if (n == 1) return;
    const Forest forest = double_binary_tree(n);
    int most = 0;
    int total = 0;
    for (int node = 0; node < n; ++node) {
      int links = 0;
      for (const Tree& tree : forest) {
        links += static_cast<int>(tree.children[at(node)].size()) + (node == tree.root() ? 0 : 1);
      }
      most = std::max(most, links);
      total += links;
    }
    // Two trees have 2 (n - 1) links, each with two ends: 4 (1 - 1/n) a node. Nobody has more than
    // that rounded up, except with 4 nodes, where a node in the middle has 4: there the ring is
    // better.
    EXPECT_EQ(total, 4 * (n - 1));
    EXPECT_EQ(most, n == 4 ? 4 : (total + n - 1) / n);
  });
}

TEST_F(EveryNodeCount, RingIsPathsOfWhichEachStartsElsewhere) {
  for_each([](int n) {
    const Forest forest = ring(n);
    ASSERT_EQ(forest.size(), at(n));
    std::vector<int> roots;
    for (const Tree& tree : forest) {
      if (n <= 64) expect_spans(tree, n);  // n trees of n nodes each
      EXPECT_EQ(tree.depth(), n - 1);
      roots.push_back(tree.root());
      for (int node = 0; node < n; ++node) {
        EXPECT_EQ(tree.parent[at(node)], node == tree.root() ? -1 : (node + 1) % n);
      }
    }
    std::sort(roots.begin(), roots.end());
    EXPECT_EQ(std::unique(roots.begin(), roots.end()), roots.end());
  });
}

TEST_F(EveryNodeCount, CostByFormulaIsTheCostCountedFromTheTrees) {
  for_each([](int n) {
    for (ForestKind kind : {ForestKind::kDoubleBinaryTree, ForestKind::kRing}) {
      SCOPED_TRACE(forest_kind_name(kind));
      const ForestCost counted =
          forest_cost(kind == ForestKind::kRing ? ring(n) : double_binary_tree(n));
      const ForestCost formula = forest_cost(kind, n);
      EXPECT_DOUBLE_EQ(formula.busiest_send, counted.busiest_send);
      EXPECT_DOUBLE_EQ(formula.busiest_recv, counted.busiest_recv);
      EXPECT_EQ(formula.hops, counted.hops);
      EXPECT_EQ(formula.num_trees, counted.num_trees);
    }
  });
}

TEST(ChooseForest, FourNodesSendTwoSizesInTheTreeAndOneAndAHalfInTheRing) {
  EXPECT_DOUBLE_EQ(forest_cost(double_binary_tree(4)).busiest_send, 2);
  EXPECT_DOUBLE_EQ(forest_cost(ring(4)).busiest_send, 1.5);
  EXPECT_EQ(choose_forest(4, size_t{64} << 20, {}), ForestKind::kRing);
  EXPECT_EQ(choose_forest(4, 1024, {}), ForestKind::kDoubleBinaryTree);
}

TEST(ChooseForest, TwoNodesCostTheSameAndTakeTheTree) {
  const LinkModel link;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, size_t{1} << 30}) {
    EXPECT_DOUBLE_EQ(forest_time_ns(forest_cost(ForestKind::kRing, 2), bytes, link),
                     forest_time_ns(forest_cost(ForestKind::kDoubleBinaryTree, 2), bytes, link));
    EXPECT_EQ(choose_forest(2, bytes, link), ForestKind::kDoubleBinaryTree);
  }
}

TEST(ChooseForest, OneNodeNeverNeedsTheRing) {
  EXPECT_EQ(choose_forest(1, size_t{1} << 30, {}), ForestKind::kDoubleBinaryTree);
}

TEST(ChooseForest, LatencyDecidesAtFirstAndTheLinkInTheEnd) {
  for (int n = 4; n <= kMostNodes; ++n) {
    EXPECT_EQ(choose_forest(n, 64, {}), ForestKind::kDoubleBinaryTree) << n;
    EXPECT_EQ(choose_forest(n, size_t{1} << 50, {}), ForestKind::kRing) << n;
  }
}

TEST(ChooseForest, SlowHopsFavourTheTreeAndSlowLinksTheRing) {
  LinkModel slow_hops;
  slow_hops.hop_latency_ns = 1e9;
  LinkModel slow_link;
  slow_link.hop_latency_ns = 0;
  slow_link.chunk_bytes = 4096;
  for (int n = 4; n <= 16; ++n) {
    EXPECT_EQ(choose_forest(n, size_t{64} << 20, slow_hops), ForestKind::kDoubleBinaryTree);
    EXPECT_EQ(choose_forest(n, size_t{64} << 20, slow_link), ForestKind::kRing);
  }
}

// docs/schedules.md shows what the code says.
TEST(ChooseForest, TheTableInTheDocumentationIsRight) {
  std::ifstream file(HFR_DOCS "/schedules.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(page.empty()) << "cannot read " HFR_DOCS "/schedules.md";
  for (int n = 2; n <= 16; ++n) {
    const ForestCost tree = forest_cost(ForestKind::kDoubleBinaryTree, n);
    const ForestCost rings = forest_cost(ForestKind::kRing, n);
    std::ostringstream row;
    row << "| " << n << " | " << tree.busiest_send << " | " << std::setprecision(3)
        << rings.busiest_send << " | " << tree.hops << " | " << rings.hops << " |";
    for (int shift : {16, 20, 24, 28}) {
      const bool is_ring = choose_forest(n, size_t{1} << shift, {}) == ForestKind::kRing;
      row << (is_ring ? " ring |" : " tree |");
    }
    EXPECT_NE(page.find(row.str() + "\n"), std::string::npos) << row.str();
  }
}

}  // namespace
}  // namespace hfr
