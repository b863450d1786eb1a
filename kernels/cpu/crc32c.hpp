// CRC-32C (Castagnoli: iSCSI, RFC 3720 B.4): finds every change of up to 32 bits in a row, and any
// other with a chance of 1 - 2^-32. The same number from every implementation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hfr {

// Of `bytes` bytes, by the best implementation that this CPU has.
uint32_t crc32c(const void* data, size_t bytes);

// For tests and measurements.
struct Crc32cImplementation {
  const char* name;
  uint32_t (*run)(const void* data, size_t bytes);
};
// Those that this CPU has, the best one first; the last one needs nothing of it.
std::span<const Crc32cImplementation> crc32c_implementations();

}  // namespace hfr
