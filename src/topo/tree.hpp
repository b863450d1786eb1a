// Trees over nodes: the double binary tree, and the ring seen as n rotated paths. Pure.
//
// A forest is the list of trees that chunks take in turn: chunk c goes up and down forest[c %
// size]. A ring all-reduce is the forest of the n paths that start at each node in turn: over n
// chunks each node sends 2(n-1) chunks, 2(n-1)/n of the data, where the busiest node of a double
// binary tree sends 2. So one executor serves both.
#pragma once

#include <cstddef>
#include <vector>

namespace hfr {

// The most children a node has in any tree here.
constexpr int kMaxChildren = 2;

// One rooted tree over nodes 0..num_nodes-1.
struct Tree {
  std::vector<int> parent;  // -1 at the root
  std::vector<std::vector<int>>
      children;  // each at most kMaxChildren, ascending in the order of adding

  int num_nodes() const { return static_cast<int>(parent.size()); }
  int root() const;
  int depth() const;  // edges on the longest way from the root
};

using Forest = std::vector<Tree>;

// Two binary trees: each spans, depth at most floor(log2 n), no node is interior in both where
// that is possible (Sanders, Speck, Traeff 2009: "Two-tree algorithms for full bandwidth broadcast,
// reduction and scan").
Forest double_binary_tree(int num_nodes);

// The n rotated paths of the ring 0 -> 1 -> ... -> n-1 -> 0.
Forest ring(int num_nodes);

// What a forest costs, in units of one message (the whole tensor) through one node's link.
struct ForestCost {
  double busiest_send = 0;  // most data any node sends
  double busiest_recv = 0;
  int hops = 0;  // longest up and down way of any chunk
  int num_trees = 1;
};
// Counted from the trees themselves.
ForestCost forest_cost(const Forest& forest);

enum class ForestKind { kDoubleBinaryTree, kRing };
const char* forest_kind_name(ForestKind kind);

// The same numbers without building the trees; cheap enough to ask for each operation.
ForestCost forest_cost(ForestKind kind, int num_nodes);

// The stated cost model (docs/schedules.md): a chunk's latency along its way, the time until the
// pipeline is full, and the busiest node's data through its link. The cheaper forest wins; the tree
// when they are equal.
struct LinkModel {
  double hop_latency_ns = 10'000;
  double bytes_per_ns = 3.0;
  size_t chunk_bytes = size_t{512} << 10;  // the largest chunk
  size_t least_chunk_bytes = 0;            // and the smallest
};
double forest_time_ns(const ForestCost& cost, size_t bytes, const LinkModel& link);
ForestKind choose_forest(int num_nodes, size_t bytes, const LinkModel& link);

}  // namespace hfr
