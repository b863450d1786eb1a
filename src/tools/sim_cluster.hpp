// Cluster files: JSON, read strictly (docs/simulator.md has the format).
#pragma once

#include <string>

#include "base/status.hpp"
#include "sim/cluster.hpp"

namespace hfr::tools {

// Fails with the place in the file, what stands there and what is needed: "node.gpus[3].root_port
// ...".
Result<sim::ClusterSpec> parse_cluster(const std::string& text);
Result<sim::ClusterSpec> read_cluster_file(const std::string& path);

}  // namespace hfr::tools
