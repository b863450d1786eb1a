#include "sim/faults.hpp"

#include <array>

#include "base/text.hpp"

namespace hfr::sim {

const char* fault_name(FaultKind kind) {
  static constexpr std::array<const char*, kNumFaultKinds> kNames = {"kill", "stop", "slow",
                                                                     "lose", "cut",  "isolate"};
  return kNames[static_cast<size_t>(kind)];
}

bool hits_rank(FaultKind kind) { return kind <= FaultKind::kSlow; }

bool can_end(FaultKind kind) { return kind != FaultKind::kKill && kind != FaultKind::kLose; }

std::string fault_text(const Fault& fault) {
  std::string text = cat(fault_name(fault.kind), hits_rank(fault.kind) ? " rank " : " node ",
                         fault.where, " at ", seconds(fault.at) * 1e6, " us");
  if (fault.until != kNever) text += cat(" until ", seconds(fault.until) * 1e6, " us");
  if (fault.kind == FaultKind::kSlow) text += cat(", ", fault.factor, " times slower");
  return text;
}

Status check_faults(std::span<const Fault> faults, int num_nodes, int num_ranks) {
  for (const Fault& fault : faults) {
    const auto wrong = [&](const std::string& what) {
      return Status(Code::kInvalidArgument, cat(fault_text(fault), ": ", what));
    };
    const bool rank = hits_rank(fault.kind);
    const int most = rank ? num_ranks : num_nodes;
    if (fault.where < 0 || fault.where >= most)
      return wrong(cat("there are only ", most, rank ? " ranks" : " nodes"));
    if (fault.until != kNever && !can_end(fault.kind)) return wrong("it has no end");
    if (fault.until <= fault.at) return wrong("it ends before it begins");
    if (fault.factor < 1) return wrong("the factor must be at least 1");
  }
  return Status();
}

}  // namespace hfr::sim
