// CRC-32C by an instruction that takes 8 bytes and has a latency of three cycles: three runs beside
// each other, put together as a polynomial's parts are.
//
//   | run a, kRunBytes | run b, kRunBytes | run c, kRunBytes | ...
//   crc(abc) = (crc(a) * x^(2 n) + crc(b) * x^n + crc(c)) mod P, n the bits of a run
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hfr::crc {

constexpr uint32_t kPolynomial = 0x82f63b78;  // bit-reversed, as all numbers here

// a * b mod P.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int i = 31; i >= 0; --i) {
    if ((a >> i & 1) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

// x^(8 * bytes) mod P.
constexpr uint32_t power(size_t bytes) {
  uint32_t result = uint32_t{1} << 31;  // x^0
  uint32_t square = uint32_t{1} << 23;  // x^8
  for (; bytes != 0; bytes >>= 1) {
    if ((bytes & 1) != 0) result = multiply(square, result);
    square = multiply(square, square);
  }
  return result;
}

// Multiplies by x^(8 * bytes), by the four bytes of its argument.
template <size_t kBytes>
class Shift {
 public:
  static uint32_t run(uint32_t crc) {
    return kTable[0][crc & 0xff] ^ kTable[1][crc >> 8 & 0xff] ^ kTable[2][crc >> 16 & 0xff] ^
           kTable[3][crc >> 24];
  }

 private:
  using Table = std::array<std::array<uint32_t, 256>, 4>;
  static constexpr Table make() {
    Table table{};
    for (size_t byte = 0; byte < 4; ++byte) {
      // Linear: each entry is the sum of those of its bits.
      for (uint32_t bit = 0; bit < 8; ++bit)
        table[byte][size_t{1} << bit] = multiply(power(kBytes), uint32_t{1} << (8 * byte + bit));
      for (size_t i = 1; i < 256; ++i)
        table[byte][i] = table[byte][i & (i - 1)] ^ table[byte][i & (0 - i)];
    }
    return table;
  }
  static constexpr Table kTable = make();
};

inline uint64_t load(const unsigned char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// `Word(crc, 8 bytes)` and `Byte(crc, 1 byte)` are the instruction.
template <size_t kRunBytes, typename Word>
inline void three_runs(uint32_t& crc, const unsigned char*& at, size_t& bytes, Word word) {
  for (; bytes >= 3 * kRunBytes; bytes -= 3 * kRunBytes) {
    uint64_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < kRunBytes; i += 8) {
      a = word(a, load(at + i));
      b = word(b, load(at + kRunBytes + i));
      c = word(c, load(at + 2 * kRunBytes + i));
    }
    crc = Shift<kRunBytes>::run(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
    crc = Shift<kRunBytes>::run(crc) ^ static_cast<uint32_t>(c);
    at += 3 * kRunBytes;
  }
}

template <typename Word, typename Byte>
inline uint32_t run(const void* data, size_t bytes, Word word, Byte byte) {
  const auto* at = static_cast<const unsigned char*>(data);
  uint32_t crc = ~uint32_t{0};
  three_runs<4096>(crc, at, bytes, word);
  three_runs<256>(crc, at, bytes, word);
  uint64_t wide = crc;
  for (; bytes >= 8; bytes -= 8, at += 8) wide = word(wide, load(at));
  crc = static_cast<uint32_t>(wide);
  for (; bytes > 0; --bytes, ++at) crc = byte(crc, *at);
  return ~crc;
}

}  // namespace hfr::crc
