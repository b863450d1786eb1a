// Counts every allocation, whichever library makes it: link allocations.cc.
#pragma once

#include <cstdint>

namespace hfr_tests {

// Of the calling thread so far. (On the rank that hosts the rendezvous, the thread that serves it
// allocates beside.)
uint64_t num_allocations();

}  // namespace hfr_tests
