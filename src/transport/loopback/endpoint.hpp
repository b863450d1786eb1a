// Endpoint: this rank's end of its connection with one peer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "transport/landings.hpp"
#include "transport/loopback/connection.hpp"

namespace hfr::loopback {

class Endpoint {
 public:
  // `landings` outlives the endpoint.
  Endpoint(int peer, std::shared_ptr<Connection> connection, int side,
           const LandingTable& landings);

  bool put(const void* src, size_t bytes, const PutTag& tag, Token token);
  size_t poll(std::span<TransportEvent> events);
  bool has_work() const;
  void close();
  // Why the peer was lost; empty when it was not.
  const std::string& error() const { return error_; }

 private:
  Direction& out() const { return connection_->side[side_].sends; }
  Direction& in() const { return connection_->side[1 - side_].sends; }
  bool peer_closed() const;
  // Copies the next entry to its landing. False when the peer is lost.
  bool take(const Direction::Entry& entry);
  void lose(std::string why);

  const int peer_;
  const std::shared_ptr<Connection> connection_;
  const int side_;
  const LandingTable& landings_;
  std::array<Token, Direction::kDepth> tokens_;
  uint64_t queued_ = 0;
  uint64_t reported_ = 0;  // puts whose kPutDone was given out
  uint64_t taken_ = 0;
  bool closed_ = false;
  bool lost_ = false;
  bool loss_reported_ = false;
  std::string error_;
};

}  // namespace hfr::loopback
