// Mutants: schedules with one step changed, as a slip in a builder might.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "sched/schedule.hpp"

namespace hfr {

struct Mutant {
  std::string what;
  ScheduleSet schedules;
};

inline std::vector<SlotRef> all_landings(int num_nodes) {
  std::vector<SlotRef> slots = {{SlotKind::kResult}};
  for (int i = 0; i < kMaxChildren; ++i)
    slots.push_back({SlotKind::kChild, static_cast<uint8_t>(i)});
  for (int r = 0; r < butterfly_rounds(num_nodes); ++r) {
    slots.push_back({SlotKind::kRound, static_cast<uint8_t>(r)});
  }
  return slots;
}

// Every single change of every step.
inline std::vector<Mutant> all_mutants(const ScheduleSet& right) {
  std::vector<Mutant> mutants;
  const auto num_nodes = static_cast<int>(right.size());
  for (size_t node = 0; node < right.size(); ++node) {
    const std::vector<Step>& steps = right[node].steps;
    for (size_t i = 0; i < steps.size(); ++i) {
      auto change = [&](const std::string& what, auto&& edit) {
        Mutant mutant{cat(what, " at node ", node, ", step ", i, " (", step_text(steps[i]), ")"),
                      right};
        edit(mutant.schedules[node].steps);
        mutants.push_back(std::move(mutant));
      };
      const auto at = static_cast<std::ptrdiff_t>(i);
      change("drop", [&](std::vector<Step>& s) { s.erase(s.begin() + at); });
      change("double", [&](std::vector<Step>& s) { s.insert(s.begin() + at, steps[i]); });
      for (size_t j = i + 1; j < steps.size(); ++j) {
        change(cat("swap with step ", j), [&](std::vector<Step>& s) { std::swap(s[i], s[j]); });
      }
      const Step& step = steps[i];
      if (step.kind == StepKind::kPut) {
        for (int peer = 0; peer < num_nodes; ++peer) {
          if (peer == step.peer || peer == static_cast<int>(node)) continue;
          change(cat("peer ", peer), [&](std::vector<Step>& s) { s[i].peer = peer; });
        }
        for (const SlotRef& slot : all_landings(num_nodes)) {
          if (slot == step.dst) continue;
          change("into " + slot_text(slot), [&](std::vector<Step>& s) { s[i].dst = slot; });
        }
      }
      if (step.kind == StepKind::kAdd) {
        change("final", [&](std::vector<Step>& s) { s[i].final = !step.final; });
        for (size_t src = 0; src < step.srcs.size(); ++src) {
          const auto src_at = static_cast<std::ptrdiff_t>(src);
          change(cat("no source ", src),
                 [&](std::vector<Step>& s) { s[i].srcs.erase(s[i].srcs.begin() + src_at); });
          if (src == 0) continue;
          change(cat("sources ", src - 1, " and ", src),
                 [&](std::vector<Step>& s) { std::swap(s[i].srcs[src - 1], s[i].srcs[src]); });
        }
        std::vector<SlotRef> more = {{SlotKind::kLocal}, {SlotKind::kResult}};
        for (int from = 0; from < num_nodes; ++from) {
          if (from == static_cast<int>(node)) continue;
          for (SlotRef slot : all_landings(num_nodes)) {
            if (slot.kind == SlotKind::kResult) continue;
            slot.from = from;
            more.push_back(slot);
          }
        }
        for (const SlotRef& slot : more) {
          change("also " + slot_text(slot),
                 [&](std::vector<Step>& s) { s[i].srcs.push_back(slot); });
        }
      }
      if (step.kind == StepKind::kReceive) {
        for (int from = 0; from < num_nodes; ++from) {
          if (from == step.dst.from || from == static_cast<int>(node)) continue;
          change(cat("from ", from), [&](std::vector<Step>& s) { s[i].dst.from = from; });
        }
      }
    }
  }
  return mutants;
}

}  // namespace hfr
