// What travels on a TCP connection once its handshake is over: one Hello each way, then frames.
//
//   | FrameHeader, 32 bytes | payload, header.bytes | FrameHeader | payload | ...
//
// Numbers are little endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace hfr::tcp {

static_assert(std::endian::native == std::endian::little, "headers are sent as they lie in memory");

// The connecting side sends its own, the accepting side answers with its own.
struct Hello {
  static constexpr uint32_t kMagic = 0x54524648;  // "HFRT"
  static constexpr uint16_t kVersion = 2;
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t connection_idx = 0;   // which of the peer's connections this one is
  uint16_t num_connections = 0;  // per peer; both sides must agree
  uint16_t reserved = 0;
};
static_assert(sizeof(Hello) == 12 && std::is_trivially_copyable_v<Hello>);

struct FrameHeader {
  uint32_t landing = 0;
  // Position among all puts to this peer, over all its connections: the receiver reports in this
  // order.
  uint32_t sequence = 0;
  uint32_t bytes = 0;
  uint32_t checksum = 0;  // PutTag's
  uint64_t chunk = 0;
  uint64_t signature = 0;
};
static_assert(sizeof(FrameHeader) == 32 && std::is_trivially_copyable_v<FrameHeader>);

}  // namespace hfr::tcp
