#include "transport/verbs/setup.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "transport/tcp/setup.hpp"
#include "transport/verbs/cards.hpp"
#include "transport/verbs/links.hpp"

namespace hfr::verbs {
namespace {

TcpOptions control_options(const VerbsOptions& options) {
  return {.bind_host = options.bind_host,
          .rank = options.rank,
          .handshake = options.handshake,
          .congestion = {},
          .connections = 1,
          .logger = options.logger};
}

Status agree(const VerbsOptions& options, const PeerCard& mine, Joining& peer) {
  HFR_RETURN_IF_ERROR(check_cards(options.rank, mine, peer.rank, peer.card));
  Agreement& agreement = peer.agreement;
  agreement.their_rails.assign(peer.card.rails.begin(),
                               peer.card.rails.begin() + peer.card.num_rails);
  agreement.mtu = mine.mtu;
  if (peer.card.mtu != 0 && (mine.mtu == 0 || peer.card.mtu < mine.mtu))
    agreement.mtu = peer.card.mtu;
  agreement.service_level = mine.service_level;
  agreement.traffic_class = mine.traffic_class;
  agreement.timeout = static_cast<uint8_t>(options.timeout);
  agreement.retry_count = static_cast<uint8_t>(options.retry_count);
  const size_t num_links =
      mine.queue_pairs != 0 ? mine.queue_pairs : std::min(mine.num_rails, peer.card.num_rails);
  for (size_t i = 0; i < num_links; ++i) {
    LinkSetUp link;
    link.pairs = pair_rails(std::span(mine.rails).first(mine.num_rails), agreement.their_rails, i,
                            options.rank < peer.rank);
    if (link.pairs.empty()) {
      return Status(Code::kMismatch,
                    cat("no GID of rank ", options.rank, " (", rails_text(mine),
                        ") reaches one of rank ", peer.rank, " (", rails_text(peer.card),
                        "): they need one kind and address family; see HFREDUCE_IB_GID_INDEX and "
                        "HFREDUCE_IB_HCA"));
    }
    peer.links.push_back(std::move(link));
  }
  return Status();
}

}  // namespace

Result<UniqueFd> open_listener(const VerbsOptions& options) {
  return tcp::open_listener(control_options(options));
}

PeerCard peer_card(const VerbsOptions& options, std::span<const std::unique_ptr<Rail>> rails) {
  PeerCard card;
  card.num_rails = static_cast<uint16_t>(rails.size());
  card.queue_pairs = static_cast<uint16_t>(options.queue_pairs);
  card.service_level = static_cast<uint8_t>(options.service_level);
  card.traffic_class = static_cast<uint8_t>(options.traffic_class);
  card.mtu = static_cast<uint16_t>(options.mtu);
  for (size_t i = 0; i < rails.size(); ++i) card.rails[i] = rails[i]->card();
  return card;
}

Result<std::vector<std::unique_ptr<Endpoint>>> connect_peers(
    const VerbsOptions& options, Shared& shared, int listener, std::span<const int> peers,
    std::span<const std::vector<std::byte>> addresses, uint64_t deadline_ns) {
  HFR_ASSIGN_OR_RETURN(auto sockets, tcp::connect_peers(control_options(options), listener, peers,
                                                        addresses, deadline_ns));
  // Each step goes to all before the next begins; cards are small enough for a socket's buffer.
  const PeerCard mine = peer_card(options, shared.rails);
  std::vector<Joining> joining;
  for (tcp::PeerSockets& peer : sockets) {
    Joining& next = joining.emplace_back();
    next.rank = peer.peer;
    next.control = std::move(peer.sockets[0]);
    HFR_RETURN_IF_ERROR(send_card(next, mine, deadline_ns));
  }
  size_t num_connections = 0;
  for (Joining& peer : joining) {
    HFR_RETURN_IF_ERROR(receive_card(peer, peer.card, deadline_ns));
    HFR_RETURN_IF_ERROR(agree(options, mine, peer));
    num_connections += peer.links.size();
  }
  for (auto& rail : shared.rails)
    HFR_RETURN_IF_ERROR(
        rail->make_completion_queue(num_connections, options.most_completions, options.logger));
  HFR_RETURN_IF_ERROR(make_links(shared, joining));
  HFR_RETURN_IF_ERROR(join_links(options, shared, joining, deadline_ns));
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (Joining& peer : joining) {
    endpoints.push_back(
        std::make_unique<Endpoint>(peer.rank, shared, Control(std::move(peer.control)),
                                   std::move(peer.agreement), std::move(peer.links)));
  }
  return endpoints;
}

}  // namespace hfr::verbs
