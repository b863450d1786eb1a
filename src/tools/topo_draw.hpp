// Drawings of a machine and of a job on it: text, Graphviz, SVG. Pure.
#pragma once

#include <string>

#include "topo/topology.hpp"
#include "topo/tree.hpp"

namespace hfr::tools {

// How a job lies on its nodes. Chunk c takes lane c mod window and tree c mod trees; the window is
// a multiple of the number of trees, so that each lane keeps to one.
struct JobShape {
  int nodes = 1;
  int ranks_per_node = 1;
  int window = 1;
  std::string rail = "tcp";  // what carries a lane's chunks between nodes
  ForestKind kind = ForestKind::kDoubleBinaryTree;
  Forest forest;  // one tree of one node when there is one node

  int owner(int lane) const { return lane % ranks_per_node; }  // a local rank
  int tree(int lane) const { return lane % static_cast<int>(forest.size()); }
};

// "GPU 0000:17:00.0 NVIDIA ...", "NIC 0000:05:00.0 mlx5_0 eth0 ...".
std::string device_text(const PciDevice& device);

std::string topology_text(const Topology& topology);
std::string job_text(const JobShape& job);

// NUMA nodes with their devices as clusters; lanes, and the job's trees between nodes as edges to
// the parent.
std::string dot_graph(const Topology& topology, const JobShape& job);

// A picture of the same, as a complete SVG document.
std::string svg_drawing(const Topology& topology, const JobShape& job);

}  // namespace hfr::tools
