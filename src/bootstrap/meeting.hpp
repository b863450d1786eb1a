// Meeting: how the survivors of a communicator find each other and agree who they are
// (docs/recovery.md), or how all of its ranks do that are to take it up again (docs/suspend.md).
// Blocks until its deadline; one call at a time on a line.
#pragma once

#include <set>
#include <string>

#include "base/log.hpp"
#include "bootstrap/line.hpp"
#include "bootstrap/rendezvous.hpp"

namespace hfr {

// What members come for.
enum class MeetingPurpose : char {
  kShrink = 's',  // who is left goes on
  kResume = 'r',  // all go on, or nobody
};

struct MeetingRequest {
  MeetingPurpose purpose = MeetingPurpose::kShrink;
  std::set<int> excluded;  // first ranks that are taken for gone, by the caller's word
  // First ranks, by rank in the communicator that the user shrinks or resumes: the last one that
  // was set up on all its members, whatever was decided since.
  std::vector<int> callers;
  uint64_t deadline_ns = 0;
  Logger logger;
};

// What the caller called: for sentences.
constexpr const char* call_name(MeetingPurpose purpose) {
  return purpose == MeetingPurpose::kShrink ? "hfr_comm_shrink" : "hfr_comm_resume";
}
// What it does: "shrinking", "resuming".
constexpr const char* deed(MeetingPurpose purpose) {
  return purpose == MeetingPurpose::kShrink ? "shrinking" : "resuming";
}
// What the user calls the member of this first rank.
int rank_name(const MeetingRequest& request, int member);
// Why not all can go on. `ranks`: "1, 3".
Status has_ended(const std::string& ranks);
Status did_not_come(const std::string& ranks);

// Brings the survivors of `line` together, or all its members. Then the line has moved on to the
// child, whose ranks are connected to its rank 0. On failure the line is as it was, or further on;
// it may be tried again. To resume fails where a member is gone, once all that live have come; a
// member that shrinks makes it fail, too.
Result<Gathered> meet(Line& line, const MeetingRequest& request);

}  // namespace hfr
