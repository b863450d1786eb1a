// What `hfreduce sim` says: tables, JSON, a plot, a trace. Pure.
#pragma once

#include <string>
#include <vector>

#include "sim/cluster.hpp"
#include "sim/spans.hpp"
#include "tools/sim_run.hpp"

namespace hfr::tools {

// Two tables: bandwidths, and the busiest resource of each kind.
std::string sim_table(const std::vector<SimPoint>& points);
std::string sim_json(const sim::ClusterSpec& cluster, const std::vector<SimPoint>& points);
// Algorithm bandwidth over the number of GPUs.
std::string sim_plot(const sim::ClusterSpec& cluster, const std::vector<SimPoint>& points);
// Chrome's trace events, which Perfetto opens: a rank is a process, its queues are threads.
std::string sim_trace(const sim::SpanLog& log, int ranks_per_node);

}  // namespace hfr::tools
