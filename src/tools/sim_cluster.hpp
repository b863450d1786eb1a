// Cluster files: JSON, read strictly (docs/simulator.md has the format).
#pragma once

#include <string>

#include "base/status.hpp"
#include "sim/cluster.hpp"
#include "tools/measure_machine.hpp"
#include "topo/topology.hpp"

namespace hfr::tools {

// Fails with the place in the file, what stands there and what is needed: "node.gpus[3].root_port
// ...".
Result<sim::ClusterSpec> parse_cluster(const std::string& text);
Result<sim::ClusterSpec> read_cluster_file(const std::string& path);

// The text of a file: this machine, as `nodes` emulated nodes of `ranks_per_node` ranks in host
// memory.
std::string machine_cluster_text(const Topology& topology, const MachineRates& rates, int nodes,
                                 int ranks_per_node);

}  // namespace hfr::tools
