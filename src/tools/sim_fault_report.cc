#include "tools/sim_fault_report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "hfreduce/hfreduce.h"
#include "tools/print_format.hpp"

namespace hfr::tools {
namespace {

const char* how_ended(sim::Ending::How how) {
  static constexpr const char* kNames[] = {"running", "done", "failed", "gone", "stopped"};
  return kNames[static_cast<size_t>(how)];
}

// Ranks that ended in the same way.
struct EndingGroup {
  const sim::Ending* first = nullptr;
  int first_rank = 0;
  sim::SimTime begin = 0, end = 0;
  int num_ranks = 0;
};

std::vector<EndingGroup> group_endings(const std::vector<sim::Ending>& endings) {
  std::vector<EndingGroup> groups;
  for (size_t rank = 0; rank < endings.size(); ++rank) {
    const sim::Ending& ending = endings[rank];
    auto group = std::find_if(groups.begin(), groups.end(), [&](const EndingGroup& g) {
      return g.first->how == ending.how && g.first->failure.rank == ending.failure.rank &&
             g.first->failure.status.code() == ending.failure.status.code();
    });
    if (group == groups.end()) {
      const auto number = static_cast<int>(rank);
      group = groups.insert(group, {&ending, number, ending.at, ending.at, 0});
    }
    group->begin = std::min(group->begin, ending.at);
    group->end = std::max(group->end, ending.at);
    ++group->num_ranks;
  }
  return groups;
}

const char* code_name(Code code) { return hfr_status_string(static_cast<hfr_status_t>(code)); }

nlohmann::ordered_json fault_json(const sim::Fault& fault) {
  nlohmann::ordered_json json = {{"kind", sim::fault_name(fault.kind)},
                                 {sim::hits_rank(fault.kind) ? "rank" : "node", fault.where},
                                 {"at_us", sim::seconds(fault.at) * 1e6}};
  if (fault.until != sim::kNever) json["until_us"] = sim::seconds(fault.until) * 1e6;
  if (fault.kind == sim::FaultKind::kSlow) json["factor"] = fault.factor;
  return json;
}

nlohmann::ordered_json ending_json(size_t rank, const sim::Ending& ending) {
  nlohmann::ordered_json json = {{"rank", rank},
                                 {"ended", how_ended(ending.how)},
                                 {"time_us", sim::seconds(ending.at) * 1e6},
                                 {"completed", ending.completed}};
  if (ending.how == sim::Ending::How::kFailed) {
    json["status"] = code_name(ending.failure.status.code());
    json["blames_rank"] = ending.failure.rank;
    json["message"] = ending.failure.status.message();
  }
  return json;
}

}  // namespace

std::string fault_table(const std::vector<SimPoint>& points) {
  std::string text;
  for (const SimPoint& p : points) {
    if (p.faults.empty()) continue;
    text += format("\nWith faults, %d GPUs:\n", p.num_gpus);
    for (const sim::Fault& fault : p.faults) text += "  " + sim::fault_text(fault) + "\n";
    text += format("%7s %-8s %-16s %7s %12s %12s\n", "ranks", "ended", "status", "blames",
                   "first (ms)", "last (ms)");
    std::string sentences;
    for (const EndingGroup& group : group_endings(p.endings)) {
      const Failure& failure = group.first->failure;
      const bool failed = group.first->how == sim::Ending::How::kFailed;
      text += format("%7d %-8s %-16s %7s %12.3f %12.3f\n", group.num_ranks,
                     how_ended(group.first->how), failed ? code_name(failure.status.code()) : "-",
                     failed ? std::to_string(failure.rank).c_str() : "-",
                     sim::seconds(group.begin) * 1e3, sim::seconds(group.end) * 1e3);
      if (failed) sentences += cat("Rank ", group.first_rank, ": ", failure.status.message(), "\n");
    }
    text += sentences;
  }
  return text;
}

void add_faults(const SimPoint& point, nlohmann::ordered_json& json) {
  for (const sim::Fault& fault : point.faults) json["faults"].push_back(fault_json(fault));
  for (size_t rank = 0; rank < point.endings.size(); ++rank)
    json["endings"].push_back(ending_json(rank, point.endings[rank]));
}

}  // namespace hfr::tools
