// What NCCL's ring and tree would reach on the same resources, by arithmetic: a comparison, not a
// simulation. docs/simulator.md states what it assumes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "sim/cluster.hpp"

namespace hfr::sim {

struct NcclEstimate {
  double seconds = 0;
  std::string limiter;  // the resource that bounds its bandwidth
};

// `hosts[node]`: where in the fabric node `node` of the job is; the ring goes through the nodes in
// their order.
NcclEstimate estimate_nccl_ring(const ClusterSpec& cluster, const std::vector<int>& hosts,
                                size_t bytes);
NcclEstimate estimate_nccl_tree(const ClusterSpec& cluster, const std::vector<int>& hosts,
                                size_t bytes);

}  // namespace hfr::sim
