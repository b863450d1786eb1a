// Stalls: at their deadlines ranks say whom they wait for, and from all their words together it is
// found who holds everybody up. The rendezvous does so, and the simulator.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.hpp"
#include "base/wait_graph.hpp"

namespace hfr {

// How long reports are collected before a verdict, and how long a rank that reported waits for it.
constexpr uint64_t kStallCollectNs = 400'000'000;
constexpr uint64_t kStallVerdictNs = 700'000'000;

struct StallReport {
  WaitEdge wait;  // from the reporter
  Status status;  // in its words
};

// The report that blames whom all wait for in the end (base/wait_graph.hpp); the first one where
// nobody knows whom it waits for. There is at least one report.
const StallReport& find_cause(std::span<const StallReport> reports);

// What a rank makes of `mine` when the rank that hosts the rendezvous has not answered: whoever it
// waits for or has lost may have failed for the same reason, the host's silence.
Failure unanswered(const Failure& mine, int host_rank);

}  // namespace hfr
