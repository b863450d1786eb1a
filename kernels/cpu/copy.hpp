// Copies between a rank's buffers and staging.
#pragma once

#include <cstddef>

namespace hfr {

// Copies `bytes`; the ranges do not overlap. `streaming` stores past the caches, for a destination
// that nobody reads soon, and ends with a fence, so that a later release store orders it.
void copy_bytes(void* dst, const void* src, size_t bytes, bool streaming);

}  // namespace hfr
