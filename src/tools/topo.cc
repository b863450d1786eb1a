#include "tools/topo.hpp"

#include <fstream>
#include <iostream>

#include "comm/sizing.hpp"
#include "tools/topo_draw.hpp"
#include "topo/discovery.hpp"

namespace hfr::tools {
namespace {

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (file) return true;
  std::cerr << "hfreduce topo: cannot write " << path << "\n";
  return false;
}

// The window that a communicator of this shape would take.
Result<int> window_of(const TopoOptions& options) {
  HFR_ASSIGN_OR_RETURN(Config config, load_config(process_environment()));
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < options.nodes * options.ranks_per_node; ++rank) {
    node_of_rank.push_back(rank / options.ranks_per_node);
  }
  return size_staging(make_shape(0, node_of_rank), config).window;
}

}  // namespace

int show_topology(const TopoOptions& options) {
  auto topology = discover_topology();
  auto window = window_of(options);
  if (!topology.ok() || !window.ok()) {
    std::cerr << "hfreduce topo: "
              << (topology.ok() ? window.status() : topology.status()).message() << "\n";
    return 1;
  }
  JobShape job{options.nodes, options.ranks_per_node, *window};
  std::cout << topology_text(*topology) << job_text(job);
  if (!options.svg_file.empty() && !write_file(options.svg_file, svg_drawing(*topology, job)))
    return 1;
  if (!options.dot_file.empty() && !write_file(options.dot_file, dot_graph(*topology, job)))
    return 1;
  return 0;
}

}  // namespace hfr::tools
