// Endpoint: the datapath to one peer, over one or several connections.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ports/transport.hpp"
#include "transport/landings.hpp"
#include "transport/routes.hpp"
#include "transport/tcp/connection.hpp"

namespace hfr::tcp {

class Endpoint {
 public:
  // `landings` outlives the endpoint.
  Endpoint(int peer, std::vector<UniqueFd> sockets, const LandingTable& landings);

  bool put(const void* src, size_t bytes, const PutTag& tag, Token token);

  // Reads only from connections that are marked readable.
  size_t poll(std::span<TransportEvent> events);

  int peer() const { return peer_; }
  std::span<Connection> connections() { return connections_; }
  // Something to report or do that no socket will announce.
  bool has_work() const;
  bool lost() const { return lost_; }
  const std::string& error() const { return error_; }

 private:
  void check_loss();

  int peer_;
  std::vector<Connection> connections_;
  LandingRoutes routes_;
  uint32_t next_sent_ = 0;      // sequence
  uint32_t next_reported_ = 0;  // sequence
  bool lost_ = false;
  bool loss_reported_ = false;
  std::string error_;
};

}  // namespace hfr::tcp
