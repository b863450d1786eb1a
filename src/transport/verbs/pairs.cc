#include "transport/verbs/pairs.hpp"

#include <algorithm>
#include <tuple>

namespace hfr::verbs {

std::vector<RailPair> pair_rails(std::span<const RailCard> mine, std::span<const RailCard> theirs,
                                 size_t connection_idx, bool mine_first) {
  struct Candidate {
    std::tuple<bool, size_t, size_t> key;
    RailPair pair;
  };
  std::vector<Candidate> candidates;
  for (size_t m = 0; m < mine.size(); ++m) {
    for (size_t t = 0; t < theirs.size(); ++t) {
      auto gids = choose_gids(std::span(mine[m].gids).first(mine[m].num_gids),
                              std::span(theirs[t].gids).first(theirs[t].num_gids));
      if (!gids) continue;
      auto turns = [&](size_t rail, size_t num_rails) {
        return (rail + num_rails - connection_idx % num_rails) % num_rails;
      };
      candidates.push_back({{!same_subnet(gids->mine, gids->theirs),
                             turns(m, mine.size()) + turns(t, theirs.size()), mine_first ? m : t},
                            {m, t, *gids}});
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
  std::vector<RailPair> pairs;
  for (const Candidate& candidate : candidates) pairs.push_back(candidate.pair);
  return pairs;
}

}  // namespace hfr::verbs
