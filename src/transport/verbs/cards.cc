#include "transport/verbs/cards.hpp"

#include <bit>

#include "base/text.hpp"

namespace hfr::verbs {
namespace {

bool is_mtu(uint16_t bytes) { return bytes >= 256 && bytes <= 4096 && std::has_single_bit(bytes); }

}  // namespace

std::string rails_text(const PeerCard& card) {
  std::string text;
  for (size_t i = 0; i < card.num_rails; ++i) {
    const RailCard& rail = card.rails[i];
    text += cat(i == 0 ? "" : "; ", rail.device.data(), " port ", rail.port);
    for (size_t g = 0; g < rail.num_gids; ++g)
      text += cat(g == 0 ? " " : ", ", rail.gids[g].text());
  }
  return text;
}

Status check_cards(int my_rank, const PeerCard& mine, int their_rank, const PeerCard& theirs) {
  if (theirs.magic != PeerCard::kMagic || theirs.version != PeerCard::kVersion) {
    return Status(
        Code::kMismatch,
        cat("rank ", their_rank, " speaks another version of the verbs transport's protocol"));
  }
  bool sound = theirs.num_rails >= 1 && theirs.num_rails <= kMaxVerbsRails &&
               (theirs.mtu == 0 || is_mtu(theirs.mtu));
  for (size_t i = 0; sound && i < theirs.num_rails; ++i) {
    const RailCard& rail = theirs.rails[i];
    sound = rail.num_gids <= kMaxGids && rail.device.back() == 0 && is_mtu(rail.mtu);
  }
  if (!sound)
    return Status(Code::kMismatch, cat("rank ", their_rank,
                                       " sent a card of its rails "
                                       "that cannot be read"));
  auto differ = [&](const char* name, int here, int there) {
    return Status(Code::kMismatch, cat(name, " is ", here, " on rank ", my_rank, " and ", there,
                                       " on rank ", their_rank, "; it must be the same on all"));
  };
  if (mine.service_level != theirs.service_level)
    return differ("HFREDUCE_IB_SL", mine.service_level, theirs.service_level);
  if (mine.traffic_class != theirs.traffic_class)
    return differ("HFREDUCE_IB_TC", mine.traffic_class, theirs.traffic_class);
  if (mine.queue_pairs != theirs.queue_pairs)
    return differ("HFREDUCE_IB_QPS", mine.queue_pairs, theirs.queue_pairs);
  return Status();
}

}  // namespace hfr::verbs
