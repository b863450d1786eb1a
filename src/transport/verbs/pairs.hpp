// Which rail of the one side a connection joins to which of the other. Pure; both sides come to the
// same answer.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

struct RailPair {
  size_t mine = 0;
  size_t theirs = 0;
  GidPair gids;
};

// All pairs that can reach each other, in the order in which connection `connection_idx` tries
// them: in one subnet first, then those nearest to the connection's turn. `mine_first`: this side's
// rank is the lower.
std::vector<RailPair> pair_rails(std::span<const RailCard> mine, std::span<const RailCard> theirs,
                                 size_t connection_idx, bool mine_first);

}  // namespace hfr::verbs
