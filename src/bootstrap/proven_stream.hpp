// ProvenStream: the accepting end of a connection whose other end must first prove membership and
// then sends frames. For loops that serve many and never block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/net.hpp"
#include "base/private_fd.hpp"
#include "bootstrap/auth.hpp"

namespace hfr {

class ProvenStream {
 public:
  ProvenStream(UniqueFd fd, const Secret& key, int rank)
      : fd_(std::move(fd)), handshake_(std::make_unique<AcceptingHandshake>(key, rank)) {}
  // One that has proven it before.
  explicit ProvenStream(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  bool open() const { return fd_.valid(); }
  bool proven() const { return handshake_ == nullptr; }
  // What it said it is; once proven.
  int peer_rank() const { return peer_rank_; }
  uint64_t since_ns() const { return since_ns_; }
  bool unsent() const { return !out_.empty(); }
  short wanted_events() const;

  // Takes what has arrived, once. False: there is nothing now, or the other side is gone; then the
  // stream is closed.
  bool receive();
  // The next frame of at most `limit` bytes; nothing while there is none. An error: the other side
  // is no member, or breaks the rules.
  Result<std::optional<std::vector<std::byte>>> next_frame(size_t limit);
  // Sends when it can.
  void send(const std::vector<std::byte>& framed);
  // Sends what can be sent. A stream that breaks here is found by its next receive().
  void flush();
  void close() { fd_.reset(); }

 private:
  PrivateFd fd_;
  std::unique_ptr<AcceptingHandshake> handshake_;  // null once proven
  int peer_rank_ = -1;
  uint64_t since_ns_ = monotonic_ns();
  std::vector<std::byte> in_;
  std::vector<std::byte> out_;
};

// Fields packed, with their length before them.
std::vector<std::byte> framed(const std::vector<std::string>& fields);

}  // namespace hfr
