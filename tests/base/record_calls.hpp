// Calls that are written into a record as the engine does.
#pragma once

#include "base/record_layout.hpp"

namespace hfr_tests {

inline void call(hfr::record::File& file, uint64_t number, uint64_t signature) {
  file.calls[number % hfr::record::kNumCalls] = signature;
  file.progress.called = number + 1;
}

}  // namespace hfr_tests
