// GIDs: the addresses of ports, and which two of them two rails use. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace hfr::verbs {

enum class GidKind : uint8_t { kInfiniBand = 0, kRoceV1 = 1, kRoceV2 = 2 };

// Sent as it lies in memory.
struct Gid {
  std::array<uint8_t, 16> bytes{};
  GidKind kind = GidKind::kInfiniBand;
  uint8_t index = 0;        // in its port's table
  uint8_t prefix_bits = 0;  // of its subnet; 0: unknown
  uint8_t reserved = 0;

  bool is_ipv4() const;        // ::ffff:a.b.c.d
  bool is_link_local() const;  // fe80::/10; every InfiniBand port has one in the default subnet
  std::string text() const;    // "GID 1 (10.9.0.1, RoCE v2)"
};
static_assert(sizeof(Gid) == 20);

// By the longer of both prefixes; never for link-local ones.
bool same_subnet(const Gid& a, const Gid& b);

struct GidPair {
  Gid mine;
  Gid theirs;
};

// Both sides come to the same pair, whoever asks: `mine` and `theirs` change places with them.
// Nothing when no two can reach each other.
std::optional<GidPair> choose_gids(std::span<const Gid> mine, std::span<const Gid> theirs);

}  // namespace hfr::verbs
