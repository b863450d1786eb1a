// Meeting: how the survivors of a communicator find each other and agree who they are
// (docs/recovery.md). Blocks until its deadline; one call at a time on a line.
#pragma once

#include <set>
#include <string>

#include "base/log.hpp"
#include "bootstrap/line.hpp"
#include "bootstrap/rendezvous.hpp"

namespace hfr {

struct MeetingRequest {
  std::set<int> excluded;  // first ranks that are taken for gone, by the caller's word
  // First ranks, by rank in the communicator that the user shrinks: the last one that was set up on
  // all its members, whatever was decided since.
  std::vector<int> callers;
  uint64_t deadline_ns = 0;
  Logger logger;
};

// Brings the survivors of `line` together. Then the line has moved on to the child, whose ranks are
// connected to its rank 0. On failure the line is as it was, or further on; it may be tried again.
Result<Gathered> meet(Line& line, const MeetingRequest& request);

}  // namespace hfr
