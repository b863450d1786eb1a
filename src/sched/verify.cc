#include "sched/verify.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/text.hpp"
#include "sched/lane_proof.hpp"

namespace hfr {
namespace {

using NodeSchedulesRef = const std::vector<Schedule>*;

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
Status check_form(const std::vector<Schedule>& schedules, int num_nodes, int tree) {
  auto refuse = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, cat("tree ", tree, ": ", what));
  };
  if (static_cast<int>(schedules.size()) != num_nodes) {
    return refuse(
        cat("has schedules for ", schedules.size(), " nodes and the first tree for ", num_nodes));
  }
  for (int node = 0; node < num_nodes; ++node) {
    const Schedule& schedule = schedules[static_cast<size_t>(node)];
    if (schedule.node != node) {
      return refuse(cat("has node ", schedule.node, "'s schedule in the place of node ", node));
    }
    int publishes = 0;
    for (size_t i = 0; i < schedule.steps.size(); ++i) {
      const Step& step = schedule.steps[i];
      publishes += step.kind == StepKind::kPublish ? 1 : 0;
      const std::string fault = step_fault(step, node, num_nodes);
      if (fault.empty()) continue;
      return refuse(
          cat("node ", node, ", step ", i, " (", step_text(step), "), every chunk: ", fault));
    }
    if (publishes != 1) {
      return refuse(cat("node ", node, ", after its last step, every chunk: has published ",
                        publishes, " times and must once"));
    }
  }
  return {};
}

Status check_window(size_t num_trees, int window) {
  if (window >= 1 && static_cast<size_t>(window) % num_trees == 0) return {};
  return Status(
      Code::kInvalidArgument,
      cat("a window of ", window, " is not a multiple of the number of trees, ", num_trees,
          ": a lane would change its tree from chunk to chunk; make the window a multiple "
          "of ",
          num_trees));
}

}  // namespace

Status verify(const ForestSchedules& cycle, int window) {
  return verify_train({cycle}, {0}, window);
}

Status verify_train(const std::vector<ForestSchedules>& forests, const std::vector<int>& order,
                    int window) {
  if (forests.empty() || order.empty()) {
    return Status(Code::kInvalidArgument,
                  "there are no schedules to verify; pass at least one tree");
  }
  for (const ForestSchedules& forest : forests) {
    if (forest.empty() || forest[0].empty()) {
      return Status(Code::kInvalidArgument, "a forest has no trees or no nodes; pass at least one");
    }
    const auto num_nodes = static_cast<int>(forests[0][0].size());
    for (size_t tree = 0; tree < forest.size(); ++tree) {
      HFR_RETURN_IF_ERROR(check_form(forest[tree], num_nodes, static_cast<int>(tree)));
    }
    HFR_RETURN_IF_ERROR(check_window(forest.size(), window));
  }
  for (int forest : order) {
    if (forest >= 0 && static_cast<size_t>(forest) < forests.size()) continue;
    return Status(Code::kInvalidArgument,
                  cat("the order names forest ", forest, " of ", forests.size()));
  }

  // A lane meets the forests in an order that repeats after `period` of its chunks. Once round,
  // once more, and two chunks beyond: every chunk is followed by its next two in both copies of the
  // round slots.
  const auto lanes = static_cast<size_t>(window);
  const size_t period = order.size() / std::gcd(order.size(), lanes);
  const size_t num_generations = 2 * period + 2;
  std::set<std::vector<NodeSchedulesRef>> proved;
  for (size_t lane = 0; lane < lanes; ++lane) {
    std::vector<NodeSchedulesRef> chunks;
    for (size_t generation = 0; generation < num_generations; ++generation) {
      const size_t chunk = lane + generation * lanes;
      const ForestSchedules& forest = forests[static_cast<size_t>(order[chunk % order.size()])];
      chunks.push_back(&forest[chunk % forest.size()]);
    }
    if (!proved.insert(chunks).second) continue;
    LaneProof proof(std::move(chunks), lane, lanes);
    HFR_RETURN_IF_ERROR(proof.run());
  }
  return {};
}

}  // namespace hfr
