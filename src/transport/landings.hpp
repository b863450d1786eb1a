// LandingTable: where each numbered landing of a rank lies. Owned by its transport, used by one
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hfr {

struct Landing {
  std::byte* memory = nullptr;
  size_t bytes = 0;
  bool known = false;
};

class LandingTable {
 public:
  // Allocates only when `number` is larger than any before.
  void set(uint32_t number, void* memory, size_t bytes) {
    if (number >= landings_.size()) landings_.resize(size_t{number} + 1);
    landings_[number] = Landing{static_cast<std::byte*>(memory), bytes, true};
  }

  // Null when nobody set it.
  const Landing* find(uint32_t number) const {
    if (number >= landings_.size() || !landings_[number].known) return nullptr;
    return &landings_[number];
  }

 private:
  std::vector<Landing> landings_;
};

}  // namespace hfr
