#include "transport/verbs/setup.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "transport/tcp/setup.hpp"

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

// A peer while its connections are made.
struct Joining {
  int rank = -1;
  UniqueFd control;
  PeerCard card;
  Agreement agreement;
  std::vector<LinkSetUp> links;
};

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

template <typename Value>
Status send_card(const Joining& peer, const Value& card, uint64_t deadline_ns) {
  return send_all(peer.control.get(), std::as_bytes(std::span(&card, 1)), deadline_ns,
                  cat("setting verbs up with rank ", peer.rank));
}

template <typename Value>
Status receive_card(const Joining& peer, Value& card, uint64_t deadline_ns) {
  return recv_all(peer.control.get(), std::as_writable_bytes(std::span(&card, 1)), deadline_ns,
                  cat("setting verbs up with rank ", peer.rank));
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

Status open_links(Shared& shared, Joining& peer, uint64_t deadline_ns) {
  for (size_t i = 0; i < peer.links.size(); ++i) {
    LinkSetUp& link = peer.links[i];
    const auto idx = static_cast<uint16_t>(shared.table.size());
    HFR_ASSIGN_OR_RETURN(link.connection,
                         Connection::make(shared.rails, idx, static_cast<uint32_t>(i)));
    shared.table.push_back(link.connection.get());
    HFR_RETURN_IF_ERROR(link.connection->open(link.pairs[0].mine, 0));
    HFR_RETURN_IF_ERROR(send_card(peer, link.connection->card(), deadline_ns));
  }
  return Status();
}

Status join_links(const VerbsOptions& options, Shared& shared, Joining& peer,
                  uint64_t deadline_ns) {
  for (LinkSetUp& link : peer.links) {
    LinkCard theirs;
    HFR_RETURN_IF_ERROR(receive_card(peer, theirs, deadline_ns));
    const RailPair& pair = link.pairs[0];
    const Path path = peer.agreement.path(pair, shared.rails);
    Status status = link.connection->join(theirs, path);
    const RailCard& their_rail = peer.agreement.their_rails[pair.theirs];
    const std::string way =
        cat("verbs to rank ", peer.rank, ": ", shared.rails[pair.mine]->info().text(), ' ',
            pair.gids.mine.text(), " to ", their_rail.device.data(), " port ", their_rail.port, ' ',
            pair.gids.theirs.text(), ", MTU ", path.mtu, ", service level ",
            int{path.service_level}, ", traffic class ", int{path.traffic_class});
    if (!status.ok()) return Status(status.code(), cat(way, ": ", status.message()));
    options.logger.log(LogLevel::kInfo, way);
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

Status check_cards(int my_rank, const PeerCard& mine, int their_rank, const PeerCard& theirs) {
  if (theirs.magic != PeerCard::kMagic || theirs.version != PeerCard::kVersion) {
    return Status(
        Code::kMismatch,
        cat("rank ", their_rank, " speaks another version of the verbs transport's protocol"));
  }
  bool sound = theirs.num_rails >= 1 && theirs.num_rails <= kMaxVerbsRails;
  for (size_t i = 0; sound && i < theirs.num_rails; ++i) {
    const RailCard& rail = theirs.rails[i];
    sound = rail.num_gids <= kMaxGids && rail.device.back() == 0 && rail.mtu >= 256;
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
  for (auto& rail : shared.rails) HFR_RETURN_IF_ERROR(rail->make_completion_queue(num_connections));
  for (Joining& peer : joining) HFR_RETURN_IF_ERROR(open_links(shared, peer, deadline_ns));
  for (Joining& peer : joining) HFR_RETURN_IF_ERROR(join_links(options, shared, peer, deadline_ns));
  // A message that comes before its receiver has joined would wait for a retry.
  const uint8_t ready = 1;
  for (Joining& peer : joining) HFR_RETURN_IF_ERROR(send_card(peer, ready, deadline_ns));
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (Joining& peer : joining) {
    uint8_t theirs = 0;
    HFR_RETURN_IF_ERROR(receive_card(peer, theirs, deadline_ns));
    endpoints.push_back(
        std::make_unique<Endpoint>(peer.rank, shared, Control(std::move(peer.control)),
                                   std::move(peer.agreement), std::move(peer.links)));
  }
  return endpoints;
}

}  // namespace hfr::verbs
