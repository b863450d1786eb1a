// A cluster file of the simulator.
#include "input.hpp"
#include "tools/sim_cluster.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const auto cluster = hfr::tools::parse_cluster(input.text());
  if (!cluster.ok()) {
    hfr_fuzz::require(!cluster.status().message().empty());
    return 0;
  }
  hfr_fuzz::require(cluster->nodes >= 1 && !cluster->node.sockets.empty());
  for (const auto& gpu : cluster->node.gpus) {
    hfr_fuzz::require(static_cast<size_t>(gpu.root_port) < cluster->node.root_ports.size());
  }
  return 0;
}
