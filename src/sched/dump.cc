#include "base/text.hpp"
#include "sched/schedule.hpp"

namespace hfr {
std::string slot_text(const SlotRef& slot) {
  std::string from = slot.from >= 0 ? cat(" (from node ", slot.from, ")") : "";
  switch (slot.kind) {
    case SlotKind::kLocal:
      return "local inputs";
    case SlotKind::kResult:
      return "result" + from;
    case SlotKind::kChild:
      return cat("child ", static_cast<int>(slot.idx), from);
    case SlotKind::kRound:
      return cat("round ", static_cast<int>(slot.idx), from);
  }
  return "";
}

std::string step_text(const Step& step) {
  std::string srcs;
  for (const SlotRef& src : step.srcs) srcs += (srcs.empty() ? "" : " + ") + slot_text(src);
  switch (step.kind) {
    case StepKind::kAdd:
      return cat("add ", slot_text(step.dst), " = ", srcs, step.final ? ", final" : "");
    case StepKind::kPut:
      return cat("put ", srcs, " to node ", step.peer, "'s ", slot_text(step.dst));
    case StepKind::kReceive:
      return cat("receive ", slot_text(step.dst));
    case StepKind::kPublish:
      return "publish";
  }
  return "";
}

std::string dump(const Schedule& schedule) {
  std::string text = cat("node ", schedule.node, "\n");
  for (const Step& step : schedule.steps) text += cat("  ", step_text(step), "\n");
  return text;
}

}  // namespace hfr
