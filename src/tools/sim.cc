#include "tools/sim.hpp"

#include <iostream>

#include "tools/progress.hpp"
#include "tools/sim_cluster.hpp"
#include "tools/sim_fault_report.hpp"
#include "tools/sim_report.hpp"
#include "tools/sim_run.hpp"
#include "tools/write_file.hpp"

namespace hfr::tools {
namespace {

Status run(const SimOptions& options) {
  HFR_ASSIGN_OR_RETURN(const sim::ClusterSpec cluster, read_cluster_file(options.cluster_file));
  HFR_ASSIGN_OR_RETURN(const std::vector<int> counts, parse_gpu_counts(options.gpus));
  if (!options.trace_file.empty() && counts.size() > 1) {
    return Status(Code::kInvalidArgument, "--trace needs one number of GPUs");
  }
  std::vector<FaultSpec> faults;
  for (const std::string& text : options.faults) {
    HFR_ASSIGN_OR_RETURN(const FaultSpec fault, parse_fault(text));
    faults.push_back(fault);
  }
  std::vector<SimPoint> points;
  sim::SpanLog log(options.trace_file.empty() ? 0 : options.trace_ranks);
  for (int count : counts) {
    Progress progress(true, 100);
    uint64_t percent = 0;
    progress.show(cat("% of ", count, " GPUs"));
    auto report = [&](uint64_t done, uint64_t all) {
      for (; percent < 100 * done / all; ++percent) progress.step();
      progress.show(cat("% of ", count, " GPUs"));
    };
    const SimRequest request{
        cluster,           count, options.bytes, options.tensors, options.scatter_seed, faults,
        options.fault_seed};
    HFR_ASSIGN_OR_RETURN(const SimPoint point,
                         simulate(request, options.trace_file.empty() ? nullptr : &log, report));
    points.push_back(point);
  }
  std::cout << sim_table(points) << fault_table(points);
  if (!options.json_file.empty())
    HFR_RETURN_IF_ERROR(write_file(options.json_file, sim_json(cluster, points)));
  if (!options.svg_file.empty())
    HFR_RETURN_IF_ERROR(write_file(options.svg_file, sim_plot(cluster, points)));
  if (!options.trace_file.empty())
    HFR_RETURN_IF_ERROR(write_file(options.trace_file, sim_trace(log, cluster.node.num_ranks())));
  return Status();
}

}  // namespace

int simulate_cluster(const SimOptions& options) {
  const Status status = run(options);
  if (status.ok()) return 0;
  std::cerr << "hfreduce sim: " << status.message() << "\n";
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace hfr::tools
