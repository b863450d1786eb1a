// hfr_comm_metrics_t from what the communicator counted.
#pragma once

#include "base/status.hpp"
#include "comm/comm_metrics.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr {

// Writes no more than out->size bytes, and leaves that field alone.
Status fill_metrics(const CommMetrics& metrics, hfr_comm_metrics_t* out);

}  // namespace hfr
