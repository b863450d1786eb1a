// Set-up of the verbs transport: from a listener and addresses to live connections.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/net.hpp"
#include "transport/verbs/endpoint.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::verbs {

// The control connections' listener and connections are the TCP transport's, proof of membership
// included.
Result<UniqueFd> open_listener(const VerbsOptions& options);

// Endpoints in the order of `peers`. `shared.rails` are open; their completion queues and
// `shared.table` are made here.
Result<std::vector<std::unique_ptr<Endpoint>>> connect_peers(
    const VerbsOptions& options, Shared& shared, int listener, std::span<const int> peers,
    std::span<const std::vector<std::byte>> addresses, uint64_t deadline_ns);

// What a side says of itself.
PeerCard peer_card(const VerbsOptions& options, std::span<const std::unique_ptr<Rail>> rails);

}  // namespace hfr::verbs
