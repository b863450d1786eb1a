// A peer's card of its rails, and which rails and GIDs are chosen by it.
#include "input.hpp"
#include "transport/verbs/cards.hpp"
#include "transport/verbs/pairs.hpp"

using namespace hfr::verbs;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  PeerCard mine;
  mine.num_rails = 2;
  for (RailCard& rail : std::span(mine.rails).first(2)) {
    rail.mtu = 1024;
    rail.num_gids = 2;
    for (Gid& gid : std::span(rail.gids).first(2)) gid = input.value<Gid>();
  }
  const auto theirs = input.value<PeerCard>();
  if (!check_cards(0, mine, 1, theirs).ok()) return 0;
  (void)rails_text(theirs);
  const auto their_rails = std::span(theirs.rails).first(theirs.num_rails);
  const auto my_rails = std::span(mine.rails).first(mine.num_rails);
  for (size_t i = 0; i < 3; ++i) {
    const auto here = pair_rails(my_rails, their_rails, i, true);
    const auto there = pair_rails(their_rails, my_rails, i, false);
    hfr_fuzz::require(here.size() == there.size());
    for (size_t p = 0; p < here.size(); ++p) {
      hfr_fuzz::require(here[p].mine == there[p].theirs && here[p].theirs == there[p].mine);
      hfr_fuzz::require(here[p].theirs < theirs.num_rails);
    }
  }
  return 0;
}
