// Drawings of a machine and of a job on it: text, Graphviz, SVG. Pure.
#pragma once

#include <string>

#include "topo/topology.hpp"

namespace hfr::tools {

// How a job lies on its nodes: which local rank owns which lane, and which nodes each lane's chunks
// visit.
struct JobShape {
  int nodes = 1;
  int ranks_per_node = 1;
  int window = 1;
};

std::string topology_text(const Topology& topology);
std::string job_text(const JobShape& job);
// Sockets, NUMA nodes and devices as nested clusters; the job's trees between nodes as edges.
std::string dot_graph(const Topology& topology, const JobShape& job);
std::string svg_drawing(const Topology& topology, const JobShape& job);

}  // namespace hfr::tools
