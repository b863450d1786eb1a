#include "bootstrap/unique_id.hpp"

#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "base/text.hpp"

namespace hfr {
namespace {

// | magic 8 | port 2 | host, zero-padded 54 | secret 32 | checksum 32 |
constexpr std::array<char, 8> kMagic = {'H', 'F', 'R', 'u', 'i', 'd', '0', '1'};
constexpr size_t kPortAt = 8;
constexpr size_t kHostAt = 10;
constexpr size_t kHostBytes = 54;
constexpr size_t kSecretAt = 64;
constexpr size_t kChecksumAt = 96;

std::array<unsigned char, 32> checksum(std::span<const std::byte> bytes) {
  std::array<unsigned char, 32> sum{};
  crypto_generichash(sum.data(), sum.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                     kChecksumAt, nullptr, 0);
  return sum;
}

// Rendezvous sockets that no communicator has claimed yet, by their address. A forked child does
// not own its parent's.
struct Waiting {
  std::mutex mutex;
  std::map<std::string, std::pair<pid_t, UniqueFd>> listeners;
};
Waiting& waiting() {
  static Waiting table;
  return table;
}

}  // namespace

std::array<std::byte, kUniqueIdBytes> encode_unique_id(const UniqueId& id) {
  std::array<std::byte, kUniqueIdBytes> bytes{};
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  bytes[kPortAt] = static_cast<std::byte>(id.address.port & 0xff);
  bytes[kPortAt + 1] = static_cast<std::byte>(id.address.port >> 8);
  std::memcpy(&bytes[kHostAt], id.address.host.data(),
              std::min(id.address.host.size(), kHostBytes - 1));
  std::memcpy(&bytes[kSecretAt], id.secret.bytes().data(), Secret::kBytes);
  auto sum = checksum(bytes);
  std::memcpy(&bytes[kChecksumAt], sum.data(), sum.size());
  return bytes;
}

Result<UniqueId> decode_unique_id(std::span<const std::byte, kUniqueIdBytes> bytes) {
  auto sum = checksum(bytes);
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0 ||
      std::memcmp(&bytes[kChecksumAt], sum.data(), sum.size()) != 0) {
    return Status(Code::kInvalidArgument,
                  "the unique id is damaged or was never made: pass on all 128 bytes that "
                  "hfr_get_unique_id wrote");
  }
  const auto host = bytes.subspan<kHostAt, kHostBytes>();
  const auto host_end = std::find(host.begin(), host.end(), std::byte{0});
  if (host_end == host.end()) {
    return Status(Code::kInvalidArgument, "the unique id names a host without an end");
  }
  UniqueId id;
  id.address.port = static_cast<uint16_t>(std::to_integer<unsigned>(bytes[kPortAt]) |
                                          std::to_integer<unsigned>(bytes[kPortAt + 1]) << 8);
  id.address.host.assign(reinterpret_cast<const char*>(host.data()),
                         static_cast<size_t>(host_end - host.begin()));
  id.secret = Secret::from_bytes(bytes.subspan<kSecretAt, Secret::kBytes>());
  return id;
}

Result<OpenRendezvous> open_rendezvous(const Config& config, const Secret& secret) {
  OpenRendezvous open;
  HFR_ASSIGN_OR_RETURN(std::string host, interface_address(config.socket_ifname));
  HFR_ASSIGN_OR_RETURN(open.listener, listen_tcp({host, 0}));
  HFR_ASSIGN_OR_RETURN(open.id.address, local_address(open.listener.get()));
  open.id.secret = secret;
  return open;
}

Result<UniqueId> open_unique_id(const Config& config) {
  HFR_ASSIGN_OR_RETURN(OpenRendezvous open, open_rendezvous(config, Secret::random()));
  Waiting& table = waiting();
  std::lock_guard lock(table.mutex);
  table.listeners[text(open.id.address)] = {getpid(), std::move(open.listener)};
  return open.id;
}

UniqueFd take_listener(const UniqueId& id) {
  Waiting& table = waiting();
  std::lock_guard lock(table.mutex);
  auto found = table.listeners.find(text(id.address));
  if (found == table.listeners.end() || found->second.first != getpid()) return UniqueFd();
  UniqueFd listener = std::move(found->second.second);
  table.listeners.erase(found);
  return listener;
}

}  // namespace hfr
