#include "comm/heritage.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "bootstrap/meeting.hpp"
#include "comm/communicator.hpp"

namespace hfr {
namespace {

// Of those that have met: the line's members, connected to the lowest.
JoinSpec spec_of_met(const Heritage& heritage, const std::string& kind, Gathered gathered) {
  const Line& line = heritage.line;
  JoinSpec spec = heritage.spec(kind);
  spec.gathered = std::move(gathered);
  const auto at = std::find(line.members.begin(), line.members.end(), line.self);
  spec.rank = static_cast<int>(at - line.members.begin());
  spec.num_ranks = static_cast<int>(line.members.size());
  spec.secret = line.communicator_secret();
  spec.line = line;
  return spec;
}

}  // namespace

JoinSpec Heritage::spec(const std::string& kind) const {
  JoinSpec spec;
  spec.is_child = true;
  spec.ancestors = line.with_ancestors();
  spec.config = config;
  if (!spec.config.trace.empty()) spec.config.trace += cat(".", kind);
  spec.cuda_context = cuda_context;
  spec.cuda_ordinal = cuda_ordinal;
  return spec;
}

Result<std::shared_ptr<Communicator>> shrink(Heritage& heritage, const ShrinkCall& call) {
  const CancelScope scope(call.cancel);
  MeetingRequest request;
  request.callers = heritage.first_ranks;
  request.logger = call.logger;
  for (int rank : call.excluded)
    request.excluded.insert(heritage.first_ranks[static_cast<size_t>(rank)]);
  while (true) {
    const uint64_t now = monotonic_ns();
    request.deadline_ns = now + (call.end_ns > now ? (call.end_ns - now) / 2 : 0);
    HFR_ASSIGN_OR_RETURN(Gathered gathered, meet(heritage.line, request));
    JoinSpec spec = spec_of_met(heritage, "shrunk", std::move(gathered));
    spec.cancel = call.cancel;
    spec.deadline_ns = call.end_ns;
    auto child = Communicator::create(std::move(spec));
    if (child.ok()) return child;
    // Another one has died: its survivors meet again, among the members of this decision.
    request.logger.log(LogLevel::kInfo, "shrinking again: ", child.status().message());
    if (child.status().code() != Code::kRemoteError || monotonic_ns() >= call.end_ns) return child;
  }
}

Result<std::shared_ptr<Communicator>> resume(Heritage& heritage, const CancelFlag& cancel) {
  const CancelScope scope(&cancel);
  MeetingRequest request;
  request.purpose = MeetingPurpose::kResume;
  request.callers = heritage.first_ranks;
  const auto self = std::find(request.callers.begin(), request.callers.end(), heritage.line.self);
  const int rank = static_cast<int>(self - request.callers.begin());
  HFR_ASSIGN_OR_RETURN(const Logger logger, open_log(heritage.config, rank));
  request.logger = logger.of(Subsystem::kRecovery);
  request.deadline_ns = monotonic_ns() + heritage.config.timeout_ms * 1'000'000;
  HFR_ASSIGN_OR_RETURN(Gathered gathered, meet(heritage.line, request));
  JoinSpec spec = spec_of_met(heritage, "resumed", std::move(gathered));
  spec.cancel = &cancel;
  spec.earlier = heritage.metrics;
  return Communicator::create(std::move(spec));
}

}  // namespace hfr
