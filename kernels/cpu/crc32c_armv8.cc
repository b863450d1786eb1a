// Compiled for ARMv8 with CRC; crc32c.cc asks the CPU first.
#include <arm_acle.h>

#include "cpu/crc32c_body.hpp"

namespace hfr {

uint32_t crc32c_armv8(const void* data, size_t bytes) {
  return crc::run(
      data, bytes,
      [](uint64_t crc, uint64_t word) -> uint64_t {
        return __crc32cd(static_cast<uint32_t>(crc), word);
      },
      [](uint32_t crc, unsigned char byte) { return __crc32cb(crc, byte); });
}

}  // namespace hfr
