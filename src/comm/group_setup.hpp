// Group set-up: which GPUs of each node form groups, and the way of this rank's GPU to the others'
// boxes (docs/cuda.md). All ranks call it alike.
#pragma once

#include "comm/set_up_data.hpp"
#include "comm/setup.hpp"
#include "device/cuda/cuda_device.hpp"
#include "topo/gpu_groups.hpp"

namespace hfr {

// Each node's groups. Pure, and the same on all ranks. `is_child`: the ranks are what is left of a
// communicator, or a part of one, so a node whose ranks do not divide into groups goes without.
Result<std::vector<GpuGroups>> plan_gpu_groups(const Shape& shape, const std::string& setting,
                                               const std::vector<GroupFinding>& ranks,
                                               bool is_child = false);

// Sets parts.gpu_groups and parts.boxes. `side`: null on a rank without a GPU or without kernels.
// `same_process[r]`: rank r lives in this process.
Status join_gpu_groups(const std::vector<GpuGroups>& planned, CudaGroupSide* side,
                       const std::vector<bool>& same_process, uint64_t deadline_ns, Parts& parts);

}  // namespace hfr
