#include "sched/schedule.hpp"

#include <bit>

namespace hfr {
namespace {

SlotRef local() { return {SlotKind::kLocal, 0}; }
SlotRef result(int from = -1) { return {SlotKind::kResult, 0, from}; }
SlotRef child(int idx, int from = -1) {
  return {SlotKind::kChild, static_cast<uint8_t>(idx), from};
}
SlotRef round_slot(int idx, int from = -1) {
  return {SlotKind::kRound, static_cast<uint8_t>(idx), from};
}

Step add(std::vector<SlotRef> srcs, bool final) {
  Step step;
  step.kind = StepKind::kAdd;
  step.dst = result();
  step.srcs = std::move(srcs);
  step.final = final;
  return step;
}

Step put(SlotRef dst, int peer) {
  Step step;
  step.kind = StepKind::kPut;
  step.dst = dst;
  step.srcs = {result()};
  step.peer = peer;
  return step;
}

Step receive(int from) {
  Step step;
  step.kind = StepKind::kReceive;
  step.dst = result(from);
  return step;
}

Step publish() {
  Step step;
  step.kind = StepKind::kPublish;
  return step;
}

int child_idx(const Tree& tree, int node) {
  const auto& siblings = tree.children[static_cast<size_t>(tree.parent[static_cast<size_t>(node)])];
  int idx = 0;
  while (siblings[static_cast<size_t>(idx)] != node) ++idx;
  return idx;
}

// The largest power of two that is at most n: the nodes that take part in the rounds.
int core_size(int n) { return static_cast<int>(std::bit_floor(static_cast<unsigned>(n))); }
int core_rounds(int n) { return std::countr_zero(static_cast<unsigned>(core_size(n))); }

}  // namespace

bool has_final_add(const Schedule& schedule) {
  for (const Step& step : schedule.steps) {
    if (step.kind == StepKind::kAdd && step.final) return true;
  }
  return false;
}

ScheduleSet build_tree_all_reduce(const Tree& tree) {
  ScheduleSet schedules;
  for (int node = 0; node < tree.num_nodes(); ++node) {
    const int parent = tree.parent[static_cast<size_t>(node)];
    const auto& children = tree.children[static_cast<size_t>(node)];
    Schedule schedule;
    schedule.node = node;
    std::vector<SlotRef> srcs = {local()};
    for (size_t i = 0; i < children.size(); ++i)
      srcs.push_back(child(static_cast<int>(i), children[i]));
    schedule.steps.push_back(add(std::move(srcs), parent < 0));
    if (parent >= 0) {
      schedule.steps.push_back(put(child(child_idx(tree, node)), parent));
      schedule.steps.push_back(receive(parent));
    }
    for (int below : children) schedule.steps.push_back(put(result(), below));
    schedule.steps.push_back(publish());
    schedules.push_back(std::move(schedule));
  }
  return schedules;
}

int butterfly_rounds(int num_nodes) {
  return core_rounds(num_nodes) + (num_nodes > core_size(num_nodes) ? 1 : 0);
}

ScheduleSet build_butterfly_all_reduce(int num_nodes) {
  const int core = core_size(num_nodes);
  const int rounds = core_rounds(num_nodes);
  const int fold = rounds;  // the slot in which a node of the core takes an outsider's input
  ScheduleSet schedules;
  for (int node = 0; node < num_nodes; ++node) {
    Schedule schedule;
    schedule.node = node;
    auto& steps = schedule.steps;
    steps.push_back(add({local()}, num_nodes == 1));
    if (node >= core) {
      steps.push_back(put(round_slot(fold), node - core));
      steps.push_back(receive(node - core));
    } else {
      const int outsider = node + core < num_nodes ? node + core : -1;
      if (outsider >= 0) steps.push_back(add({result(), round_slot(fold, outsider)}, false));
      for (int r = 0; r < rounds; ++r) {
        const int partner = node ^ (1 << r);
        steps.push_back(put(round_slot(r), partner));
        // Lower before upper on both sides: the same expression, hence the same bits.
        std::vector<SlotRef> srcs = {result(), round_slot(r, partner)};
        if (partner < node) std::swap(srcs[0], srcs[1]);
        steps.push_back(add(std::move(srcs), r + 1 == rounds));
      }
      if (outsider >= 0) steps.push_back(put(result(), outsider));
    }
    steps.push_back(publish());
    schedules.push_back(std::move(schedule));
  }
  return schedules;
}

}  // namespace hfr
