// Completion: what a port reports from poll().
#pragma once

#include <cstdint>

namespace hfr {

// Names one submitted piece of work; chosen by the submitter, returned unchanged. Fits a verbs
// wr_id.
using Token = uint64_t;

}  // namespace hfr
