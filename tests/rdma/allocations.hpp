// Counts every allocation of the process, whoever makes it: link allocations.cc.
#pragma once

#include <cstdint>

namespace hfr_tests {

// So far, of all threads.
uint64_t num_allocations();

}  // namespace hfr_tests
