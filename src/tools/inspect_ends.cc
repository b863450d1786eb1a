// Who ended first, of a job whose processes are gone, as the rendezvous' thread noted it in the
// record of its rank (docs/diagnosis.md).
#include <algorithm>

#include "base/text.hpp"
#include "tools/inspect_verdict.hpp"
#include "tools/print_format.hpp"

namespace hfr::tools {
namespace {

// Null: its record is not here.
const Record* host_of(const std::vector<RankState>& ranks) {
  const auto found = std::find_if(ranks.begin(), ranks.end(),
                                  [](const RankState& r) { return r.record.hosts_rendezvous; });
  return found == ranks.end() ? nullptr : &found->record;
}

std::string short_text(uint64_t ns) {
  if (ns >= 1'000'000'000) return seconds_text(ns);
  const auto us = static_cast<double>(ns) / 1e3;
  return us >= 1000 ? format("%.1f ms", us / 1e3) : format("%.0f us", us);
}

}  // namespace

std::vector<int> ended_first(const std::vector<RankState>& ranks) {
  std::vector<int> first;
  const Record* host = host_of(ranks);
  if (host == nullptr) return first;
  for (const RecordedEnd& end : host->ends) {
    if (end.at_ns == host->ends.front().at_ns) first.push_back(end.rank);
  }
  std::sort(first.begin(), first.end());
  return first;
}

std::string first_end_text(const std::vector<RankState>& ranks) {
  const Record& host = *host_of(ranks);
  const std::vector<int> first = ended_first(ranks);
  std::string before = "and nobody else before it was gone itself";
  if (first.size() < host.ends.size()) {
    const RecordedEnd& next = host.ends[first.size()];
    before = cat(short_text(next.at_ns - host.ends.front().at_ns), " before rank ", next.rank);
  }
  return cat("rank ", host.owner.rank, ", which hosts the rendezvous, saw ", list_ranks(first),
             " end first, ", before);
}

std::string nobody_seen_text(const std::vector<RankState>& ranks) {
  const Record* host = host_of(ranks);
  if (host == nullptr) {
    return "No record here is of the rank that hosts the rendezvous, which notes who ends first.";
  }
  return cat("Rank ", host->owner.rank,
             ", which hosts the rendezvous, saw nobody end: it was the first itself, or all ended "
             "at once.");
}

}  // namespace hfr::tools
