// GpuGroups: which GPU ranks of a node add among themselves before the CPU does (docs/cuda.md).
// Pure.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"

namespace hfr {

// Each group's local ranks, ascending; all groups have one size. Empty: none.
using GpuGroups = std::vector<std::vector<int>>;

// What a rank says of its GPU.
struct GpuFacts {
  std::string gpu;                   // which one of the machine; empty: the rank is on none
  std::vector<std::string> reaches;  // the GPUs that it reaches over NVLink
  int process = -1;  // ranks with the same one are threads of a process; below 0: on its own
};

// By topology: the largest size for which the GPU ranks divide into sets of different GPUs that
// reach each other, and of different processes: where threads reach each other's GPUs, allocating
// memory on one waits for the other's streams. `ranks[r]` is local rank r's.
GpuGroups find_gpu_groups(const std::vector<GpuFacts>& ranks);

// By hand: the GPU ranks in their order, `size` at a time. Fails when they do not divide.
Result<GpuGroups> cut_gpu_groups(const std::vector<GpuFacts>& ranks, int size);

}  // namespace hfr
