// Ranks as threads whose buffers are on GPUs.
#pragma once

#include <vector>

#include "../gpu/gpu.hpp"
#include "cluster.hpp"

namespace hfr_tests {

// Each thread works on its rank's GPU.
inline ClusterShape gpu_shape(std::vector<int> ranks_per_node) {
  ClusterShape shape;
  shape.ranks_per_node = std::move(ranks_per_node);
  shape.device = HFR_DEVICE_CUDA;
  shape.begin = [](int rank) { use_gpu(rank); };
  return shape;
}

}  // namespace hfr_tests
