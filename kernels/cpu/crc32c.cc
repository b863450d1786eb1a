#include "cpu/crc32c.hpp"

#include <array>
#include <cstring>

#include "cpu/crc32c_body.hpp"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace hfr {
#if defined(__x86_64__)
uint32_t crc32c_sse42(const void* data, size_t bytes);
#elif defined(__aarch64__)
uint32_t crc32c_armv8(const void* data, size_t bytes);
#endif

namespace {

// What byte b, followed by i zeros, adds: eight bytes at a time.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc & 1) != 0 ? (crc >> 1) ^ crc::kPolynomial : crc >> 1;
    tables[0][b] = crc;
  }
  for (size_t i = 1; i < 8; ++i) {
    for (size_t b = 0; b < 256; ++b)
      tables[i][b] = (tables[i - 1][b] >> 8) ^ tables[0][tables[i - 1][b] & 0xff];
  }
  return tables;
}
constexpr auto kTables = make_tables();

uint32_t software(const void* data, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  uint32_t crc = ~uint32_t{0};
  for (; bytes >= 8; bytes -= 8, at += 8) {
    uint32_t sum = 0;
    for (size_t i = 0; i < 4; ++i) {
      sum ^= kTables[7 - i][(crc >> (8 * i) & 0xff) ^ at[i]];
      sum ^= kTables[3 - i][at[4 + i]];
    }
    crc = sum;
  }
  for (; bytes > 0; --bytes, ++at) crc = (crc >> 8) ^ kTables[0][(crc & 0xff) ^ *at];
  return ~crc;
}

constexpr std::array<Crc32cImplementation, 2> kImplementations = {{
#if defined(__x86_64__)
    {"sse4.2", crc32c_sse42},
#elif defined(__aarch64__)
    {"armv8", crc32c_armv8},
#else
    {"software", software},
#endif
    {"software", software},
}};

bool has_instruction() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__)
  constexpr unsigned long kHasCrc = 1 << 7;  // HWCAP_CRC32
  return (getauxval(AT_HWCAP) & kHasCrc) != 0;
#else
  return false;
#endif
}

}  // namespace

std::span<const Crc32cImplementation> crc32c_implementations() {
  static const size_t first = has_instruction() ? 0 : 1;
  return std::span(kImplementations).subspan(first);
}

uint32_t crc32c(const void* data, size_t bytes) {
  static const auto best = crc32c_implementations()[0].run;
  return best(data, bytes);
}

}  // namespace hfr
