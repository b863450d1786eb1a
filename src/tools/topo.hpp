// `hfreduce topo`: what discovery found, and how a job would lie on it.
#pragma once

#include <cstddef>
#include <string>

namespace hfr::tools {

struct TopoOptions {
  int nodes = 1;
  int ranks_per_node = 1;
  int window = 0;                           // 0: what a communicator would choose
  size_t message_bytes = size_t{32} << 20;  // decides between the tree and the ring
  std::string svg_file;
  std::string dot_file;
  std::string cluster_file;
};

// Prints, and writes the files. Returns the exit status.
int show_topology(const TopoOptions& options);

}  // namespace hfr::tools
