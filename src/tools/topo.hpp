// `hfreduce topo`: what discovery found, and how a job would lie on it.
#pragma once

#include <string>

namespace hfr::tools {

struct TopoOptions {
  int nodes = 1;
  int ranks_per_node = 1;
  std::string svg_file;
  std::string dot_file;
};

// Prints, and writes the files. Returns the exit status.
int show_topology(const TopoOptions& options);

}  // namespace hfr::tools
