// One simulated all-reduce, or a series over numbers of GPUs, and what came of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "sim/cluster.hpp"
#include "sim/machine.hpp"
#include "sim/spans.hpp"
#include "sim/world.hpp"
#include "tools/sim_fault.hpp"

namespace hfr::tools {

struct SimRequest {
  sim::ClusterSpec cluster;
  int num_gpus = 0;           // ranks, on host memory
  size_t bytes = 0;           // of the message
  int num_tensors = 1;        // parts of equal size, all submitted at once
  uint64_t scatter_seed = 0;  // nodes are at random places of the fabric; 0: side by side
  std::vector<FaultSpec> faults;
  uint64_t fault_seed = 1;
};

struct SimPoint {
  int num_gpus = 0;
  int num_nodes = 0;
  size_t bytes = 0;
  double seconds = 0;
  double algbw = 0;  // GB/s
  double busbw = 0;
  // Of each kind the busiest one's, 0 to 1; negative where the cluster has none.
  std::array<double, sim::kNumResourceKinds> utilisation{};
  std::string limiter;         // the busiest of all
  double nccl_ring_algbw = 0;  // 0: no GPUs, or only one
  double nccl_tree_algbw = 0;
  size_t chunk_bytes = 0;  // at most
  uint64_t num_events = 0;
  // Of a second run, with faults; the numbers above are without. Both empty: none were wanted.
  std::vector<sim::Fault> faults;
  std::vector<sim::Ending> endings;  // by rank
};

// "16..1440": 16, then twice that and so on, and 1440. "16,64,128". "48".
Result<std::vector<int>> parse_gpu_counts(const std::string& text);

// Settings come from `config`'s environment. `log`: may be null. `report(done, all)`.
using SimReport = std::function<void(uint64_t done, uint64_t all)>;
Result<SimPoint> simulate(const SimRequest& request, sim::SpanLog* log, const SimReport& report);

}  // namespace hfr::tools
