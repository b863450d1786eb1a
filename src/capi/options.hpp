// hfr_comm_options_t over the settings of the environment.
#pragma once

#include "base/config.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr {

// Reads no more than options->size bytes: an older caller's struct is shorter. A newer one's is
// longer, and what is not known here is not looked at.
Status apply_options(const hfr_comm_options_t* options, Config& config, bool& non_blocking);

}  // namespace hfr
