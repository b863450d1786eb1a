#include "base/stalls.hpp"

#include <vector>

#include "base/text.hpp"

namespace hfr {

const StallReport& find_cause(std::span<const StallReport> reports) {
  std::vector<WaitEdge> edges;
  for (const StallReport& report : reports) edges.push_back(report.wait);
  return reports[find_holdup(edges).value_or(0)];
}

Failure unanswered(const Failure& mine, int host_rank) {
  return {Status(mine.status.code(), cat(mine.status.message(), "; rank ", host_rank,
                                         ", which hosts the rendezvous, does not answer either")),
          host_rank};
}

}  // namespace hfr
