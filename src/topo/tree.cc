#include "topo/tree.hpp"

#include <algorithm>
#include <bit>

namespace hfr {
namespace {

Tree from_parents(std::vector<int> parent) {
  Tree tree;
  tree.children.resize(parent.size());
  for (size_t node = 0; node < parent.size(); ++node) {
    if (parent[node] >= 0)
      tree.children[static_cast<size_t>(parent[node])].push_back(static_cast<int>(node));
  }
  tree.parent = std::move(parent);
  return tree;
}

// Parent of label i in the in-order binary tree over 1..n: odd labels are leaves, and a label's
// level is its lowest set bit. 0 at the root, the largest power of two.
//
//            4                       n = 6: 5 and 7 would hang below 6;
//        2       6                          a parent beyond n is skipped
//      1   3   5
int inorder_parent(int label, int n) {
  int bit = label & -label;
  if (label == bit && 2 * label > n) return 0;
  int above = (label ^ bit) | (bit << 1);
  return above <= n ? above : label ^ bit;
}

}  // namespace

int Tree::root() const {
  return static_cast<int>(std::find(parent.begin(), parent.end(), -1) - parent.begin());
}

int Tree::depth() const {
  int deepest = 0;
  for (int node = 0; node < num_nodes(); ++node) {
    int depth = 0;
    for (int at = node; parent[static_cast<size_t>(at)] >= 0; at = parent[static_cast<size_t>(at)])
      ++depth;
    deepest = std::max(deepest, depth);
  }
  return deepest;
}

Forest double_binary_tree(int num_nodes) {
  const int n = num_nodes;
  if (n == 1) return {from_parents({-1})};
  // Odd labels are leaves. The second tree turns the labels' parity round for every node: mirrored
  // when n is even, shifted by one when it is odd, where the one node that keeps its parity is a
  // leaf in both.
  auto build = [n](auto&& label_of, auto&& node_of) {
    std::vector<int> parent(static_cast<size_t>(n), -1);
    for (int node = 0; node < n; ++node) {
      int above = inorder_parent(label_of(node), n);
      if (above != 0) parent[static_cast<size_t>(node)] = node_of(above);
    }
    return from_parents(std::move(parent));
  };
  Tree first = build([](int node) { return node + 1; }, [](int label) { return label - 1; });
  Tree second =
      n % 2 == 0 ? build([n](int node) { return n - node; }, [n](int label) { return n - label; })
                 : build([n](int node) { return (node + 1) % n + 1; },
                         [n](int label) { return (label - 2 + n) % n; });
  return {first, second};
}

Forest ring(int num_nodes) {
  const int n = num_nodes;
  Forest forest;
  for (int start = 0; start < n; ++start) {
    std::vector<int> parent(static_cast<size_t>(n), -1);
    for (int hop = 0; hop + 1 < n; ++hop)
      parent[static_cast<size_t>((start + hop) % n)] = (start + hop + 1) % n;
    forest.push_back(from_parents(std::move(parent)));
  }
  return forest;
}

ForestCost forest_cost(const Forest& forest) {
  ForestCost cost;
  cost.num_trees = static_cast<int>(forest.size());
  for (int node = 0; node < forest[0].num_nodes(); ++node) {
    int links = 0;
    for (const Tree& tree : forest) {
      links += static_cast<int>(tree.children[static_cast<size_t>(node)].size());
      links += tree.parent[static_cast<size_t>(node)] >= 0 ? 1 : 0;
    }
    // Each link carries a chunk up and a chunk down, one of them out of this node.
    cost.busiest_send = std::max(cost.busiest_send, links / static_cast<double>(cost.num_trees));
  }
  cost.busiest_recv = cost.busiest_send;
  for (const Tree& tree : forest) cost.hops = std::max(cost.hops, 2 * tree.depth());
  return cost;
}

const char* forest_kind_name(ForestKind kind) {
  return kind == ForestKind::kRing ? "ring" : "double binary tree";
}

ForestCost forest_cost(ForestKind kind, int num_nodes) {
  const int n = num_nodes;
  ForestCost cost;
  if (n == 1) return cost;
  if (kind == ForestKind::kRing) {
    cost.num_trees = n;
    cost.busiest_send = 2.0 * (n - 1) / n;
    cost.hops = 2 * (n - 1);
  } else {
    // Busiest is a node with a parent and two children in one tree and a parent in the other. With
    // two nodes the roots have one child each; with three a root has two and nobody is in the
    // middle.
    constexpr double kFewNodes[] = {0, 0, 1, 1.5};
    cost.num_trees = 2;
    cost.busiest_send = n < 4 ? kFewNodes[n] : 2;
    cost.hops = 2 * (std::bit_width(static_cast<unsigned>(n)) - 1);
  }
  cost.busiest_recv = cost.busiest_send;
  return cost;
}

double forest_time_ns(const ForestCost& cost, size_t bytes, const LinkModel& link) {
  const auto message = static_cast<double>(bytes);
  // A plan gives every tree two chunks at least. A hop passes a chunk on when it is there as a
  // whole; the last hop's transfer is part of the busiest node's time.
  const double chunk =
      std::clamp(message / (2 * cost.num_trees), static_cast<double>(link.least_chunk_bytes),
                 static_cast<double>(link.chunk_bytes));
  const int fill_hops = std::max(0, cost.hops - 1);
  return cost.hops * link.hop_latency_ns +
         (fill_hops * chunk + cost.busiest_send * message) / link.bytes_per_ns;
}

ForestKind choose_forest(int num_nodes, size_t bytes, const LinkModel& link) {
  const double tree =
      forest_time_ns(forest_cost(ForestKind::kDoubleBinaryTree, num_nodes), bytes, link);
  const double ring_time = forest_time_ns(forest_cost(ForestKind::kRing, num_nodes), bytes, link);
  return ring_time < tree ? ForestKind::kRing : ForestKind::kDoubleBinaryTree;
}

}  // namespace hfr
