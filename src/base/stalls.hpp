// Stalls: at their deadlines ranks say whom they wait for, and from all their words together it is
// found who holds everybody up. The rendezvous does so, and the simulator.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.hpp"

namespace hfr {

// How long reports are collected before a verdict, and how long a rank that reported waits for it.
constexpr uint64_t kStallCollectNs = 400'000'000;
constexpr uint64_t kStallVerdictNs = 700'000'000;

struct StallReport {
  int reporter = -1;
  int blamed = -1;  // -1: unknown
  Status status;    // in the reporter's words
};

// Follows, from the first reporter on, who waits for whom to a rank that itself reported nothing;
// returns the report that blames it. Where ranks wait in a circle: the last one before it closes.
// There is at least one report.
const StallReport& find_cause(std::span<const StallReport> reports);

// What a rank makes of `mine` when the rank that hosts the rendezvous has not answered: whoever it
// waits for or has lost may have failed for the same reason, the host's silence.
Failure unanswered(const Failure& mine, int host_rank);

}  // namespace hfr
