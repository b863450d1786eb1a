// Ranges for NVIDIA's profilers, by NVTX: headers that load what the profiler names
// (NVTX_INJECTION64_PATH), so nothing is linked.
#pragma once

#include <memory>
#include <string>

#include "ports/ranges.hpp"

namespace hfr {

// Ranges in the domain "hfreduce". Null where no profiler is attached, or the build had no NVTX.
std::unique_ptr<Ranges> make_nvtx_ranges();

}  // namespace hfr
