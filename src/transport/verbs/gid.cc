#include "transport/verbs/gid.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <tuple>

#include "base/text.hpp"

namespace hfr::verbs {
namespace {

constexpr int kBits = 128;

bool same_prefix(const Gid& a, const Gid& b, int bits) {
  for (int bit = 0; bit < bits; ++bit) {
    const auto at = static_cast<size_t>(bit / 8);
    if (((a.bytes[at] ^ b.bytes[at]) >> (7 - bit % 8)) & 1) return false;
  }
  return true;
}

bool reachable(const Gid& a, const Gid& b) {
  return a.kind == b.kind && a.is_ipv4() == b.is_ipv4() && a.is_link_local() == b.is_link_local();
}

// Larger is better. Symmetric.
auto worth(const Gid& a, const Gid& b) {
  return std::make_tuple(same_subnet(a, b), a.kind, !a.is_link_local(), a.is_ipv4(),
                         -(a.index + b.index), -std::max(a.index, b.index));
}

}  // namespace

bool Gid::is_ipv4() const {
  return std::all_of(bytes.begin(), bytes.begin() + 10, [](uint8_t b) { return b == 0; }) &&
         bytes[10] == 0xff && bytes[11] == 0xff;
}

bool Gid::is_link_local() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }

std::string Gid::text() const {
  char address[INET6_ADDRSTRLEN] = "";
  if (is_ipv4()) {
    inet_ntop(AF_INET, bytes.data() + 12, address, sizeof(address));
  } else {
    inet_ntop(AF_INET6, bytes.data(), address, sizeof(address));
  }
  const char* kinds[] = {"InfiniBand", "RoCE v1", "RoCE v2"};
  return cat("GID ", int{index}, " (", address, ", ", kinds[static_cast<size_t>(kind) % 3], ")");
}

bool same_subnet(const Gid& a, const Gid& b) {
  // That two are link-local does not say that they are on one link.
  if (a.is_link_local() || b.is_link_local()) return false;
  const int bits = std::max(a.prefix_bits, b.prefix_bits);
  return bits > 0 && bits <= kBits && same_prefix(a, b, bits);
}

std::optional<GidPair> choose_gids(std::span<const Gid> mine, std::span<const Gid> theirs) {
  std::optional<GidPair> best;
  auto lower = [](const GidPair& pair) { return std::min(pair.mine.bytes, pair.theirs.bytes); };
  for (const Gid& a : mine) {
    for (const Gid& b : theirs) {
      if (!reachable(a, b)) continue;
      const GidPair pair{a, b};
      // Of two that are worth the same, the one whose lower address is lower, seen from either
      // side.
      if (!best || worth(a, b) > worth(best->mine, best->theirs) ||
          (worth(a, b) == worth(best->mine, best->theirs) && lower(pair) < lower(*best))) {
        best = pair;
      }
    }
  }
  return best;
}

}  // namespace hfr::verbs
