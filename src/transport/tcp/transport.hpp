// Transport over TCP sockets. See docs/transports.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/log.hpp"
#include "ports/transport.hpp"

namespace hfr {

struct TcpOptions {
  std::string
      bind_host;  // numeric address of the chosen interface; listens and connects from it only
  int rank = 0;
  const Handshake& handshake;  // outlives connect()
  std::string congestion;      // TCP_CONGESTION; empty: the system's
  int connections = 0;         // per peer, 1 to 16; 0: kDefaultTcpConnections
  Logger logger;
  // How long an accepted connection may take to prove itself. Strangers are dropped after it.
  uint64_t handshake_ns = 5'000'000'000;
};

// More than one does not pay on loopback, where the two copies bound the rate
// (docs/experiments.md).
constexpr int kDefaultTcpConnections = 1;

std::unique_ptr<Transport> make_tcp_transport(TcpOptions options);

}  // namespace hfr
