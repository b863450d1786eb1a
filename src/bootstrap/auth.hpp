// Proof of membership: both sides of a connection show that they hold the communicator's secret,
// before anything else is read.
//
//   connecting -> accepting   magic, nonce C, rank C
//   accepting  -> connecting  magic, nonce A, rank A, MAC(key, "accept" | C | A)
//   connecting -> accepting   MAC(key, "connect" | C | A)
//   accepting  -> connecting  one byte: welcome
//
// C and A stand for nonce and rank. The nonces are fresh, so a recording proves nothing; the roles
// are in the MAC, so an answer cannot be sent back to its author. The key is derived from the
// secret and the purpose of the connection, so a proof for one purpose is none for another. MACs
// are HMAC-SHA512-256 (libsodium).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "ports/transport.hpp"

namespace hfr {

// 32 secret bytes; wiped when destroyed.
class Secret {
 public:
  static constexpr size_t kBytes = 32;

  Secret() : bytes_{} {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret();

  static Secret random();
  static Secret from_passphrase(const std::string& passphrase);
  static Secret from_bytes(std::span<const std::byte, kBytes> bytes);
  // A secret for one purpose; tells nothing about this one.
  Secret derive(const std::string& purpose) const;

  const std::array<unsigned char, kBytes>& bytes() const { return bytes_; }

 private:
  std::array<unsigned char, kBytes> bytes_;
};

constexpr size_t kNonceBytes = 32;
constexpr size_t kMacBytes = 32;
constexpr size_t kHelloBytes = 8 + kNonceBytes + 4;
constexpr size_t kReplyBytes = kHelloBytes + kMacBytes;

// The accepting side, fed with what arrives: for servers that never block.
class AcceptingHandshake {
 public:
  AcceptingHandshake(const Secret& key, int rank) : key_(key), rank_(rank) {}

  // Bytes that it needs next, 0 when done.
  size_t wants() const;
  // Takes exactly wants() bytes; what is to be sent in answer, or why the peer is refused.
  Result<std::vector<std::byte>> feed(std::span<const std::byte> bytes);
  bool done() const { return stage_ == Stage::kDone; }
  int peer_rank() const { return peer_rank_; }

 private:
  enum class Stage { kHello, kProof, kDone };
  const Secret key_;
  const int rank_;
  Stage stage_ = Stage::kHello;
  std::vector<std::byte> hello_;
  std::vector<std::byte> mine_;
  int peer_rank_ = -1;
};

// The whole exchange over a socket. Immutable; any thread.
class SecretHandshake : public Handshake {
 public:
  SecretHandshake(const Secret& secret, const std::string& purpose, int rank)
      : key_(secret.derive(purpose)), rank_(rank) {}

  Result<int> run(int fd, Side side, uint64_t deadline_ns) const override;

 private:
  Result<int> connect_side(int fd, uint64_t deadline_ns) const;
  Result<int> accept_side(int fd, uint64_t deadline_ns) const;

  const Secret key_;
  const int rank_;
};

}  // namespace hfr
