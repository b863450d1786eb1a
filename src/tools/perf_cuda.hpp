// The GPU of a rank of `hfreduce perf`.
#pragma once

#include <memory>

#include "tools/perf_device.hpp"

namespace hfr::tools {

// Device `ordinal` mod the number of devices. Throws std::runtime_error where there is none, or
// where the command was built without cuda.h.
std::unique_ptr<PerfDevice> make_cuda_device(int ordinal);

}  // namespace hfr::tools
