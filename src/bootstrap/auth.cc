#include "bootstrap/auth.hpp"

#include <sodium.h>

#include <cstring>

#include "base/net.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

static_assert(kMacBytes == crypto_auth_BYTES && Secret::kBytes == crypto_auth_KEYBYTES);

constexpr std::array<char, 8> kMagic = {'H', 'F', 'R', 'a', 'u', 't', 'h', '1'};
constexpr std::byte kWelcome{0x57};

// Idempotent and thread-safe by libsodium's word; a failure would mean that there is no random
// source.
void ready_sodium() { [[maybe_unused]] int ready = sodium_init(); }

std::vector<std::byte> make_hello(int rank) {
  ready_sodium();
  std::vector<std::byte> hello(kHelloBytes);
  std::memcpy(hello.data(), kMagic.data(), kMagic.size());
  randombytes_buf(hello.data() + kMagic.size(), kNonceBytes);
  auto bits = static_cast<uint32_t>(rank);
  for (size_t i = 0; i < 4; ++i) {
    hello[kMagic.size() + kNonceBytes + i] = static_cast<std::byte>(bits >> (8 * i));
  }
  return hello;
}

bool has_magic(std::span<const std::byte> hello) {
  return std::memcmp(hello.data(), kMagic.data(), kMagic.size()) == 0;
}

int hello_rank(std::span<const std::byte> hello) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 4; ++i) {
    bits |= std::to_integer<uint32_t>(hello[kMagic.size() + kNonceBytes + i]) << (8 * i);
  }
  return static_cast<int>(bits);
}

std::array<unsigned char, kMacBytes> make_mac(const Secret& key, const char* role,
                                              std::span<const std::byte> connecting,
                                              std::span<const std::byte> accepting) {
  std::vector<unsigned char> message(role, role + std::strlen(role));
  auto append = [&](std::span<const std::byte> bytes) {
    for (std::byte b : bytes) message.push_back(std::to_integer<unsigned char>(b));
  };
  append(connecting.first(kHelloBytes));
  append(accepting.first(kHelloBytes));
  std::array<unsigned char, kMacBytes> mac{};
  crypto_auth(mac.data(), message.data(), message.size(), key.bytes().data());
  return mac;
}

bool same_mac(const std::array<unsigned char, kMacBytes>& want, std::span<const std::byte> got) {
  return sodium_memcmp(want.data(), got.data(), kMacBytes) == 0;
}

Status refused(const std::string& why) {
  return Status(Code::kRemoteError, "proof of membership: " + why);
}

}  // namespace

Secret::~Secret() { sodium_memzero(bytes_.data(), bytes_.size()); }

Secret Secret::random() {
  ready_sodium();
  Secret secret;
  randombytes_buf(secret.bytes_.data(), kBytes);
  return secret;
}

Secret Secret::from_passphrase(const std::string& passphrase) {
  ready_sodium();
  Secret secret;
  crypto_generichash(secret.bytes_.data(), kBytes,
                     reinterpret_cast<const unsigned char*>(passphrase.data()), passphrase.size(),
                     nullptr, 0);
  return secret;
}

Secret Secret::from_bytes(std::span<const std::byte, kBytes> bytes) {
  Secret secret;
  std::memcpy(secret.bytes_.data(), bytes.data(), kBytes);
  return secret;
}

Secret Secret::derive(const std::string& purpose) const {
  ready_sodium();
  Secret derived;
  crypto_generichash(derived.bytes_.data(), kBytes,
                     reinterpret_cast<const unsigned char*>(purpose.data()), purpose.size(),
                     bytes_.data(), kBytes);
  return derived;
}

size_t AcceptingHandshake::wants() const {
  switch (stage_) {
    case Stage::kHello:
      return kHelloBytes;
    case Stage::kProof:
      return kMacBytes;
    case Stage::kDone:
      break;
  }
  return 0;
}

Result<std::vector<std::byte>> AcceptingHandshake::feed(std::span<const std::byte> bytes) {
  if (stage_ == Stage::kHello) {
    if (!has_magic(bytes)) return refused("the other side does not speak this protocol");
    hello_.assign(bytes.begin(), bytes.end());
    mine_ = make_hello(rank_);
    auto mac = make_mac(key_, "accept", hello_, mine_);
    std::vector<std::byte> reply = mine_;
    for (unsigned char c : mac) reply.push_back(static_cast<std::byte>(c));
    stage_ = Stage::kProof;
    return reply;
  }
  if (!same_mac(make_mac(key_, "connect", hello_, mine_), bytes)) {
    return refused("the other side does not hold the secret");
  }
  peer_rank_ = hello_rank(hello_);
  stage_ = Stage::kDone;
  return std::vector<std::byte>{kWelcome};
}

Result<int> SecretHandshake::run(int fd, Side side, uint64_t deadline_ns) const {
  return side == Side::kConnecting ? connect_side(fd, deadline_ns) : accept_side(fd, deadline_ns);
}

Result<int> SecretHandshake::connect_side(int fd, uint64_t deadline_ns) const {
  const std::string what = "proving membership";
  std::vector<std::byte> mine = make_hello(rank_);
  HFR_RETURN_IF_ERROR(send_all(fd, mine, deadline_ns, what));
  std::vector<std::byte> reply(kReplyBytes);
  HFR_RETURN_IF_ERROR(recv_all(fd, reply, deadline_ns, what));
  if (!has_magic(reply)) return refused("the other side does not speak this protocol");
  if (!same_mac(make_mac(key_, "accept", mine, reply), std::span(reply).subspan(kHelloBytes))) {
    return refused("the other side does not hold the secret");
  }
  auto mac = make_mac(key_, "connect", mine, reply);
  HFR_RETURN_IF_ERROR(send_all(fd, std::as_bytes(std::span(mac)), deadline_ns, what));
  std::array<std::byte, 1> welcome{};
  HFR_RETURN_IF_ERROR(recv_all(fd, welcome, deadline_ns, what));
  if (welcome[0] != kWelcome) return refused("the other side refused");
  return hello_rank(reply);
}

Result<int> SecretHandshake::accept_side(int fd, uint64_t deadline_ns) const {
  AcceptingHandshake handshake(key_, rank_);
  while (!handshake.done()) {
    std::vector<std::byte> bytes(handshake.wants());
    HFR_RETURN_IF_ERROR(recv_all(fd, bytes, deadline_ns, "checking membership"));
    HFR_ASSIGN_OR_RETURN(std::vector<std::byte> answer, handshake.feed(bytes));
    HFR_RETURN_IF_ERROR(send_all(fd, answer, deadline_ns, "checking membership"));
  }
  return handshake.peer_rank();
}

}  // namespace hfr
