// What NCCL's ring and tree would reach on the same resources, by arithmetic: a comparison, not a
// simulation. docs/simulator.md states what it assumes.
#pragma once

#include <cstddef>
#include <string>

#include "sim/cluster.hpp"

namespace hfr::sim {

struct NcclEstimate {
  double seconds = 0;
  std::string limiter;  // the resource that bounds its bandwidth
};

NcclEstimate estimate_nccl_ring(const ClusterSpec& cluster, int num_nodes, size_t bytes);
NcclEstimate estimate_nccl_tree(const ClusterSpec& cluster, int num_nodes, size_t bytes);

}  // namespace hfr::sim
