// Failures: the first one on a node is written once, in words, where every local rank sees it.
#pragma once

#include "base/status.hpp"
#include "engine/staging.hpp"

namespace hfr {

// Writes `failure` into the cell unless one is there. Any thread.
void publish_failure(FailureCell& cell, const Failure& failure);

// The failure in the cell; its status is ok when there is none (yet).
Failure read_failure(const FailureCell& cell);

}  // namespace hfr
