// Who is furthest behind in set-up.
#include <algorithm>

#include "base/text.hpp"
#include "tools/inspect_verdict.hpp"

namespace hfr::tools {
namespace {

bool in_set_up(const RankState& rank) {
  return rank.record.wait && is_of_set_up(rank.record.wait->wait.stage);
}

std::string advice(WaitStage stage) {
  switch (stage) {
    case WaitStage::kNodeMemory:
      return "Look at the machine: free memory, huge pages, the CPUs that it may use.";
    case WaitStage::kOpenDevice:
      return "Look at its device: nvidia-smi, the kernel's log (Xid).";
    case WaitStage::kConnect:
      return "Run hfreduce doctor net on the hosts; look at firewalls and routes.";
    default:
      return "Look at the output and the log of all ranks: one of them may have given up.";
  }
}

}  // namespace

std::optional<Verdict> find_in_set_up(const std::vector<RankState>& ranks) {
  WaitStage earliest = WaitStage::kFindings;
  uint64_t longest = 0;
  bool any = false;
  for (const RankState& rank : ranks) {
    if (!in_set_up(rank)) continue;
    any = true;
    earliest = std::min(earliest, rank.record.wait->wait.stage);
    longest = std::max(longest, *waited_ns(rank));
  }
  const bool ended = all_gone(ranks);
  if (!any || (longest < kLongNs && !ended)) return std::nullopt;
  Verdict verdict;
  verdict.kind = "set_up";
  const RankState* first = nullptr;
  std::string pids;
  std::vector<int> further;
  for (const RankState& rank : ranks) {
    if (!in_set_up(rank) || rank.record.wait->wait.stage != earliest) {
      further.push_back(rank.record.owner.rank);
      continue;
    }
    if (first == nullptr) first = &rank;
    verdict.culprits.push_back(rank.record.owner.rank);
    pids += cat(" ", rank.record.process.pid);
  }
  const bool one = verdict.culprits.size() == 1;
  verdict.sentence =
      cat(capital(one ? describe(*first) : list_ranks(verdict.culprits)),
          ended ? " ended in "
                : cat(one ? " has" : " have", " been for ", seconds_text(longest), " in "),
          wait_text(first->record.wait->wait));
  if (!further.empty()) {
    verdict.sentence +=
        cat("; ", list_ranks(further), further.size() == 1 ? " is" : " are", " further on");
  }
  verdict.sentence += ".";
  if (const auto missing = missing_ranks(ranks); !missing.empty()) {
    verdict.sentence +=
        cat(" There is no record of ", list_ranks(missing),
            ": set-up failed there with an error, or its host's records are not here.");
  }
  verdict.advice = advice(earliest);
  if (!ended) verdict.advice += cat(" See where they are: gdb -p, with", pids, ".");
  return verdict;
}

}  // namespace hfr::tools
