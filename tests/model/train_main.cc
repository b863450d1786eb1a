// Prints what slots.pml leaves open, for a train of chunks that one lane carries: a Promela process
// for each node, made from the steps of src/sched's schedules.
//
//   model_train NODES KIND...      KIND of each chunk: tree0 tree1 path0 path1 ... butterfly
#include <cstdlib>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "sched/schedule.hpp"

namespace hfr {
namespace {

std::optional<ScheduleSet> schedules_of(const std::string& kind, int num_nodes) {
  if (kind == "butterfly") return build_butterfly_all_reduce(num_nodes);
  const Forest forest = kind.starts_with("tree") ? double_binary_tree(num_nodes) : ring(num_nodes);
  for (size_t i = 0; i < forest.size(); ++i) {
    if (kind == cat("tree", i) || kind == cat("path", i)) return build_tree_all_reduce(forest[i]);
  }
  return std::nullopt;
}

// As src/engine/lane.hpp numbers them.
int landing(const SlotRef& slot, size_t chunk) {
  if (slot.kind == SlotKind::kChild) return 1 + slot.idx;
  if (slot.kind == SlotKind::kRound) {
    return 1 + kMaxChildren + 2 * slot.idx + static_cast<int>(chunk % 2);
  }
  return 0;
}

bool is_landing(const SlotRef& slot) {
  return slot.kind == SlotKind::kChild || slot.kind == SlotKind::kRound;
}

std::string add_text(const Step& step, int node, size_t chunk) {
  bool local = false;
  for (const SlotRef& src : step.srcs) local |= src.kind == SlotKind::kLocal;
  std::string text = cat("  d_step { ", local ? "INPUTS_WAIT" : "PUTS_LEFT");
  for (const SlotRef& src : step.srcs) {
    if (is_landing(src)) text += cat(" && HAS(", landing(src, chunk), ", ", chunk, ")");
  }
  const char* verb = "start_sum";
  text += " ->";
  for (const SlotRef& src : step.srcs) {
    const std::string value = src.kind == SlotKind::kLocal
                                  ? cat("VALUE(", 1 << node, ", ", chunk, ")")
                                  : cat("memory[AT(me, ", landing(src, chunk), ")]");
    text += cat(" ", std::exchange(verb, "add_to_sum"), "(", value, ");");
  }
  return text + cat(" end_sum(", step.final ? "FINAL" : "0", ") };\n");
}

std::string step_in_promela(const Step& step, int node, size_t chunk) {
  switch (step.kind) {
    case StepKind::kAdd:
      return add_text(step, node, chunk);
    case StepKind::kPut:
      return cat("  put(", step.peer, ", ", landing(step.dst, chunk), ", ", chunk, ");\n");
    case StepKind::kReceive:
      return cat("  HAS(0, ", chunk, ");\n");
    case StepKind::kPublish:
      return cat("  publish(", chunk, ");\n");
  }
  return {};
}

void print(const std::vector<ScheduleSet>& train, int num_nodes) {
  std::cout << "#define NODES " << num_nodes << "\n#define LANDINGS "
            << 1 + kMaxChildren + 2 * butterfly_rounds(num_nodes) << "\n#include \"slots.pml\"\n";
  std::set<std::pair<int, int>> connections;
  for (int node = 0; node < num_nodes; ++node) {
    std::cout << "\nproctype node" << node << "() {\n  byte me = " << node << ";\n  byte sum;\n";
    for (size_t chunk = 0; chunk < train.size(); ++chunk) {
      std::cout << "  BEGIN(" << chunk << ");\n";
      for (const Step& step : train[chunk][static_cast<size_t>(node)].steps) {
        std::cout << step_in_promela(step, node, chunk);
        if (step.kind == StepKind::kPut) connections.emplace(node, step.peer);
      }
      std::cout << "  PUTS_LEFT;\n";
    }
    std::cout << "}\n";
  }
  std::cout << "\ninit {\n  atomic {\n";
  for (int node = 0; node < num_nodes; ++node)
    std::cout << "    run node" << node << "(); run local_ranks(" << node << ");\n";
  for (auto [from, to] : connections) {
    std::cout << "    run connection(" << from << ", " << to << ");\n";
  }
  std::cout << "  }\n}\n";
}

}  // namespace
}  // namespace hfr

int main(int argc, char** argv) {
  const int num_nodes = argc > 2 ? std::atoi(argv[1]) : 0;
  if (num_nodes < 2 || num_nodes > 4) {
    std::cerr << "usage: model_train NODES KIND...   with 2 to 4 nodes\n";
    return 2;
  }
  std::vector<hfr::ScheduleSet> train;
  for (int i = 2; i < argc; ++i) {
    auto schedules = hfr::schedules_of(argv[i], num_nodes);
    if (!schedules) {
      std::cerr << "model_train: there is no '" << argv[i] << "' over " << num_nodes << " nodes\n";
      return 2;
    }
    train.push_back(std::move(*schedules));
  }
  hfr::print(train, num_nodes);
  return 0;
}
