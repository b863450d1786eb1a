// The convener's side of a meeting: collects who comes, learns who is gone, decides.
#pragma once

#include "bootstrap/meeting.hpp"

namespace hfr {

// Nothing: somebody brought news, `line` has moved on, and the meeting begins anew.
Result<std::optional<Gathered>> convene(Line& line, const MeetingRequest& request);

}  // namespace hfr
