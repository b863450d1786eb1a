// Set-up of the TCP transport: from a listener and addresses to authenticated sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/net.hpp"
#include "base/status.hpp"
#include "transport/tcp/transport.hpp"
#include "transport/tcp/wire.hpp"

namespace hfr::tcp {

struct PeerSockets {
  int peer = -1;
  std::vector<UniqueFd> sockets;  // by connection_idx; non-blocking
};

// Connections per peer, with the default filled in.
int num_connections(const TcpOptions& options);

// Whether the other side's greeting is of this protocol and fits ours.
Status check_hello(const Hello& mine, const Hello& theirs);

// Checks the options and listens on options.bind_host, any port.
Result<UniqueFd> open_listener(const TcpOptions& options);

// Of each pair the lower rank connects and the higher accepts. Every connection runs the handshake
// on its own thread, so that a slow or hostile one holds up nobody. Order of the result is that of
// `peers`.
Result<std::vector<PeerSockets>> connect_peers(const TcpOptions& options, int listener,
                                               std::span<const int> peers,
                                               std::span<const std::vector<std::byte>> addresses,
                                               uint64_t deadline_ns);

}  // namespace hfr::tcp
