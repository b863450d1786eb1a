// Compiled for SSE4.2; crc32c.cc asks the CPU first.
#include <nmmintrin.h>

#include "cpu/crc32c_body.hpp"

namespace hfr {

uint32_t crc32c_sse42(const void* data, size_t bytes) {
  return crc::run(
      data, bytes, [](uint64_t crc, uint64_t word) { return _mm_crc32_u64(crc, word); },
      [](uint32_t crc, unsigned char byte) { return _mm_crc32_u8(crc, byte); });
}

}  // namespace hfr
