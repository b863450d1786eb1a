#include "base/stalls.hpp"

#include <algorithm>
#include <vector>

#include "base/text.hpp"

namespace hfr {

const StallReport& find_cause(std::span<const StallReport> reports) {
  const StallReport* last = &reports.front();
  std::vector<int> seen = {last->reporter};
  while (true) {
    const auto next = std::find_if(reports.begin(), reports.end(), [&](const StallReport& report) {
      return report.reporter == last->blamed;
    });
    if (next == reports.end() || std::count(seen.begin(), seen.end(), next->reporter) > 0)
      return *last;
    seen.push_back(next->reporter);
    last = &*next;
  }
}

Failure unanswered(const Failure& mine, int host_rank) {
  return {Status(mine.status.code(), cat(mine.status.message(), "; rank ", host_rank,
                                         ", which hosts the rendezvous, does not answer either")),
          host_rank};
}

}  // namespace hfr
