#include "sched/verify.hpp"

#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "sched/lane_proof.hpp"

namespace hfr {
namespace {

bool is_landing(const SlotRef& slot) { return slot.kind != SlotKind::kLocal; }

// The sentence that says what is wrong with `slot` as a place, or nothing.
std::string slot_fault(const SlotRef& slot, int num_nodes) {
  if (slot.kind == SlotKind::kChild && slot.idx >= kMaxChildren) {
    return cat("names child slot ", static_cast<int>(slot.idx), " of ", kMaxChildren);
  }
  const int rounds = butterfly_rounds(num_nodes);
  if (slot.kind == SlotKind::kRound && slot.idx >= rounds) {
    return cat("names round slot ", static_cast<int>(slot.idx), " of ", rounds);
  }
  return {};
}

bool is_other_node(int who, int node, int num_nodes) {
  return who >= 0 && who < num_nodes && who != node;
}

std::string step_fault(const Step& step, int node, int num_nodes) {
  if (step.kind == StepKind::kPublish) return {};
  if (std::string fault = slot_fault(step.dst, num_nodes); !fault.empty()) return fault;
  switch (step.kind) {
    case StepKind::kAdd:
      if (step.dst.kind != SlotKind::kResult) return "adds into something else than the result";
      if (step.srcs.empty()) return "adds nothing";
      for (size_t i = 0; i < step.srcs.size(); ++i) {
        const SlotRef& src = step.srcs[i];
        if (std::string fault = slot_fault(src, num_nodes); !fault.empty()) return fault;
        const bool lands = src.kind == SlotKind::kChild || src.kind == SlotKind::kRound;
        if (lands && !is_other_node(src.from, node, num_nodes)) {
          return cat("reads a landing from node ", src.from);
        }
      }
      return {};
    case StepKind::kPut:
      if (step.srcs != std::vector<SlotRef>{{SlotKind::kResult}}) {
        return "puts something else than the result";
      }
      if (!is_landing(step.dst)) return "puts into local inputs";
      if (!is_other_node(step.peer, node, num_nodes)) return cat("puts to node ", step.peer);
      return {};
    case StepKind::kReceive:
      if (step.dst.kind != SlotKind::kResult) return "receives into something else than the result";
      if (!is_other_node(step.dst.from, node, num_nodes)) {
        return cat("receives from node ", step.dst.from);
      }
      return {};
    case StepKind::kPublish:
      break;
  }
  return {};
}

// What one look at the steps tells, so that the proof need not doubt indices.
Status check_form(const ScheduleSet& schedules, int num_nodes, size_t chunk) {
  auto refuse = [&](const std::string& where, const std::string& what) {
    return Status(Code::kInvalidArgument, cat(where, ", chunk ", chunk, ": ", what));
  };
  if (static_cast<int>(schedules.size()) != num_nodes) {
    return refuse(cat(schedules.size(), " nodes"), cat("chunk 0 has ", num_nodes, " nodes"));
  }
  for (int node = 0; node < num_nodes; ++node) {
    const Schedule& schedule = schedules[static_cast<size_t>(node)];
    if (schedule.node != node) {
      return refuse(cat("node ", node), cat("has the schedule of node ", schedule.node));
    }
    int publishes = 0;
    for (size_t i = 0; i < schedule.steps.size(); ++i) {
      const Step& step = schedule.steps[i];
      publishes += step.kind == StepKind::kPublish ? 1 : 0;
      const std::string fault = step_fault(step, node, num_nodes);
      if (fault.empty()) continue;
      return refuse(cat("node ", node, ", step ", i, " (", step_text(step), ")"), fault);
    }
    if (publishes != 1) {
      return refuse(cat("node ", node, ", after its last step"),
                    cat("has published ", publishes, " times; a schedule publishes once"));
    }
  }
  return {};
}

}  // namespace

Status verify(const std::vector<ScheduleSet>& cycle, int window) {
  const size_t num_trees = cycle.size();
  if (num_trees == 0 || window < 1 || static_cast<size_t>(window) % num_trees != 0) {
    return Status(Code::kInvalidArgument,
                  cat("a window of ", window, " lanes is not a multiple of the ", num_trees,
                      " trees that chunks take in turn, so a lane would change its tree; take a "
                      "multiple of it"));
  }
  // Every chunk of a lane is followed by its next two in both copies of the round slots.
  constexpr size_t kUsesOfEachLane = 4;
  std::vector<const ScheduleSet*> train;
  for (size_t chunk = 0; chunk < kUsesOfEachLane * static_cast<size_t>(window); ++chunk) {
    train.push_back(&cycle[chunk % num_trees]);
  }
  return verify_train(train, window);
}

Status verify_train(const std::vector<const ScheduleSet*>& train, int window) {
  if (train.empty() || train[0]->empty() || window < 1) {
    return Status(Code::kInvalidArgument,
                  cat("there is nothing to verify: ", train.size(), " chunks, ",
                      train.empty() ? 0 : train[0]->size(), " nodes, a window of ", window));
  }
  std::set<const ScheduleSet*> well_formed;
  for (size_t chunk = 0; chunk < train.size(); ++chunk) {
    if (!well_formed.insert(train[chunk]).second) continue;
    HFR_RETURN_IF_ERROR(check_form(*train[chunk], static_cast<int>(train[0]->size()), chunk));
  }
  const auto lanes = static_cast<size_t>(window);
  std::set<std::vector<const ScheduleSet*>> proved;
  for (size_t lane = 0; lane < std::min(lanes, train.size()); ++lane) {
    std::vector<const ScheduleSet*> chunks;
    for (size_t chunk = lane; chunk < train.size(); chunk += lanes) chunks.push_back(train[chunk]);
    if (!proved.insert(chunks).second) continue;
    LaneProof proof(std::move(chunks), lane, lanes);
    HFR_RETURN_IF_ERROR(proof.run());
  }
  return {};
}

}  // namespace hfr
