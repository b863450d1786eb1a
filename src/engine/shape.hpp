// Shape: who is where in a communicator, as one rank sees it. A value, fixed at set-up.
#pragma once

#include <vector>

namespace hfr {

struct Shape {
  int rank = 0;
  int num_ranks = 1;
  int node = 0;
  int local_rank = 0;
  // Ranks of each node in ascending order; nodes are numbered by their lowest rank.
  std::vector<std::vector<int>> nodes = {{0}};
  std::vector<int> node_of_rank = {0};
  bool any_on_device = false;  // some rank's buffers are on a GPU
  bool all_on_device = false;
  bool own_gpus = false;  // all are on GPUs, none of which two ranks share
  bool crowded = false;   // the node's ranks outnumber their CPUs

  int num_nodes() const { return static_cast<int>(nodes.size()); }
  int num_local() const { return static_cast<int>(nodes[node].size()); }
  int max_local() const;

  // The rank that adds and sends lane `lane`'s chunks on `node_idx`.
  int owner(int node_idx, int lane) const {
    const auto& ranks = nodes[node_idx];
    return ranks[lane % static_cast<int>(ranks.size())];
  }
};

// From each rank's node name: ranks with equal names share a node.
template <typename Name>
Shape make_shape(int rank, const std::vector<Name>& node_names) {
  Shape shape;
  shape.rank = rank;
  shape.num_ranks = static_cast<int>(node_names.size());
  shape.nodes.clear();
  shape.node_of_rank.assign(node_names.size(), -1);
  std::vector<Name> seen;
  for (int r = 0; r < shape.num_ranks; ++r) {
    size_t node = 0;
    while (node < seen.size() && !(seen[node] == node_names[r])) ++node;
    if (node == seen.size()) {
      seen.push_back(node_names[r]);
      shape.nodes.emplace_back();
    }
    if (r == rank) {
      shape.node = static_cast<int>(node);
      shape.local_rank = static_cast<int>(shape.nodes[node].size());
    }
    shape.node_of_rank[r] = static_cast<int>(node);
    shape.nodes[node].push_back(r);
  }
  return shape;
}

inline int Shape::max_local() const {
  size_t most = 0;
  for (const auto& ranks : nodes) most = ranks.size() > most ? ranks.size() : most;
  return static_cast<int>(most);
}

}  // namespace hfr
