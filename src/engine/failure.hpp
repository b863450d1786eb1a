// Failures: how they are put in words. The first one on a node is written once, where every local
// rank sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.hpp"
#include "base/wait.hpp"
#include "engine/shape.hpp"
#include "engine/staging.hpp"

namespace hfr {

// An operation that goes on for too long.
struct Stall {
  bool peer_lost = false;  // else: deadline
  Wait wait;
  std::string operation;   // in words
  std::string peer_error;  // with peer_lost: what the transport says
  uint64_t number = 0;     // the operation's
};

// What the rank that found it says, before it asks anybody.
Status describe_stall(const Stall& stall, const Shape& shape, uint64_t timeout_ms);
// The others' word on a failure, with the node of whose it is and with what this rank is doing.
Failure in_context(const Failure& failure, const Shape& shape, const std::optional<Stall>& doing);

// Writes `failure` into the cell unless one is there. Any thread.
void publish_failure(FailureCell& cell, const Failure& failure);

// The failure in the cell; its status is ok when there is none (yet).
Failure read_failure(const FailureCell& cell);

}  // namespace hfr
