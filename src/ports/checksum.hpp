// A chunk's checksum as ranks leave it for each other in shared memory (docs/integrity.md): one
// word that says which chunk it is of.
#pragma once

#include <cstdint>

namespace hfr {

constexpr uint64_t checksum_word(uint64_t chunk_plus_one, uint32_t checksum) {
  return (chunk_plus_one << 32) | checksum;
}
constexpr uint32_t checksum_in(uint64_t word) { return static_cast<uint32_t>(word); }

}  // namespace hfr
