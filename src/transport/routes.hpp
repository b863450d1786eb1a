// LandingRoutes: which of an endpoint's connections a landing's puts take. Puts to one landing take
// one connection, so that they cannot overtake each other; a landing gets its connection when first
// used, in turns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hfr {

class LandingRoutes {
 public:
  LandingRoutes() { routes_.fill(kUnrouted); }

  // A number below `num_connections`, which is the same in all calls, and at most 255.
  size_t of(uint32_t landing, size_t num_connections) {
    if (num_connections == 1) return 0;
    uint8_t& entry = routes_[landing % routes_.size()];
    if (entry == kUnrouted) {
      entry = next_;
      next_ = static_cast<uint8_t>((next_ + 1) % num_connections);
    }
    return entry;
  }

 private:
  static constexpr uint8_t kUnrouted = 0xff;

  std::array<uint8_t, 256> routes_;
  uint8_t next_ = 0;
};

}  // namespace hfr
