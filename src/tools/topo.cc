#include "tools/topo.hpp"

#include <iostream>

#include "comm/sizing.hpp"
#include "tools/sim_cluster.hpp"
#include "tools/topo_draw.hpp"
#include "tools/write_file.hpp"
#include "topo/discovery.hpp"

namespace hfr::tools {
namespace {

// The job as a communicator of this shape, with this environment's settings, would lay it out.
Result<JobShape> lay_out_job(const TopoOptions& options) {
  HFR_ASSIGN_OR_RETURN(Config config, load_config(process_environment()));
  if (options.window > 0) config.window = static_cast<uint64_t>(options.window);
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < options.nodes * options.ranks_per_node; ++rank) {
    node_of_rank.push_back(rank / options.ranks_per_node);
  }
  const Shape shape = make_shape(0, node_of_rank);
  const NodeSchedules schedules = make_schedules(shape, config);
  JobShape job;
  job.nodes = options.nodes;
  job.ranks_per_node = options.ranks_per_node;
  const StagingShape staging = size_staging(shape, config);
  job.window = staging.window;
  job.kind = schedules.is_forced ? schedules.forced
                                 : choose_forest(options.nodes, options.message_bytes,
                                                 size_limits(shape, staging, config, {}).link);
  if (schedules.ring.empty()) job.kind = ForestKind::kDoubleBinaryTree;
  job.forest =
      job.kind == ForestKind::kRing ? ring(options.nodes) : double_binary_tree(options.nodes);
  job.rail = config.socket_ifname.empty() ? "tcp, the interface that reaches the rendezvous"
                                          : cat("tcp, ", config.socket_ifname);
  return job;
}

Status show(const TopoOptions& options) {
  HFR_ASSIGN_OR_RETURN(Topology topology, discover_topology());
  HFR_ASSIGN_OR_RETURN(JobShape job, lay_out_job(options));
  std::cout << topology_text(topology) << job_text(job);
  if (!options.svg_file.empty())
    HFR_RETURN_IF_ERROR(write_file(options.svg_file, svg_drawing(topology, job)));
  if (!options.dot_file.empty())
    HFR_RETURN_IF_ERROR(write_file(options.dot_file, dot_graph(topology, job)));
  if (!options.cluster_file.empty()) {
    HFR_ASSIGN_OR_RETURN(const MachineRates rates, measure_machine(topology.usable_cpus));
    HFR_RETURN_IF_ERROR(
        write_file(options.cluster_file,
                   machine_cluster_text(topology, rates, options.nodes, options.ranks_per_node)));
  }
  return Status();
}

}  // namespace

int show_topology(const TopoOptions& options) {
  const Status status = show(options);
  if (status.ok()) return 0;
  std::cerr << "hfreduce topo: " << status.message() << "\n";
  return 1;
}

}  // namespace hfr::tools
