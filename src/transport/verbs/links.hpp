// Links: at set-up, from what peers agreed on to joined connections, by one pair of rails or
// another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/net.hpp"
#include "base/text.hpp"
#include "transport/verbs/endpoint.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::verbs {

// A peer while its connections are made.
struct Joining {
  int rank = -1;
  UniqueFd control;
  PeerCard card;
  Agreement agreement;
  std::vector<LinkSetUp> links;
};

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

// Connections without queue pairs, in `shared.table`, too.
Status make_links(Shared& shared, std::span<Joining> peers);

// Joins every connection, on the first of its pairs of rails where both sides can, and starts it.
// A pair that fails is a warning, and an error that says why each failed when none is left.
Status join_links(const VerbsOptions& options, Shared& shared, std::span<Joining> peers,
                  uint64_t deadline_ns);

}  // namespace hfr::verbs
