// Who holds everybody up, from who waits for whom: one rule for the rendezvous, which asks at
// deadlines, for the simulator, and for `hfreduce inspect`. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/wait.hpp"

namespace hfr {

struct WaitEdge {
  int from = -1;  // the rank that waits
  int to = -1;    // for whom; below 0: it does not know
  WaitStage stage = WaitStage::kNothing;
  uint64_t operation = 0;
  uint64_t chunk = 0;  // of the operation
};

// Which of the edges says what all wait for in the end; nothing when nobody knows whom it waits
// for. The order of the edges makes no difference. Of a rank that has several the first counts.
//
// From each rank the waits are followed:
//
//   4 -> 2 -> 7        to a rank that waits for nobody: 7 holds up 4 and 2
//   3 -> 0 -> 1        to a circle: of its waits one tells who holds it up, 1 or 0
//        ^----'
//
// The rank at which most ranks end is the cause. Of the waits of a circle, or else for the cause,
// that one counts that is for the earliest chunk of the earliest operation: who sees only later
// ones held up has done its part of that one. Then what a rank says of itself, that its stream does
// not come; then a wait for something that the other rank does by itself (a copy, adding, calling
// the operation); then one for bytes between nodes; last one for a sum, which only tells that its
// owner waits, too. What is equal is decided by the lowest rank.
std::optional<size_t> find_holdup(std::span<const WaitEdge> edges);

}  // namespace hfr
