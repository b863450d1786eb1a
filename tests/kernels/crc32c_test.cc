#include "cpu/crc32c.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace hfr {
namespace {

// Bit by bit, as the definition has it.
uint32_t by_definition(const unsigned char* data, size_t bytes) {
  uint32_t crc = ~uint32_t{0};
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

TEST(Crc32c, KnownValues) {
  std::vector<unsigned char> zeros(32, 0), ones(32, 0xff), up(32);
  std::iota(up.begin(), up.end(), static_cast<unsigned char>(0));
  const std::string digits = "123456789";
  for (const Crc32cImplementation& one : crc32c_implementations()) {
    // RFC 3720, B.4.
    EXPECT_EQ(one.run(zeros.data(), zeros.size()), 0x8a9136aau) << one.name;
    EXPECT_EQ(one.run(ones.data(), ones.size()), 0x62a8ab43u) << one.name;
    EXPECT_EQ(one.run(up.data(), up.size()), 0x46dd794eu) << one.name;
    EXPECT_EQ(one.run(digits.data(), digits.size()), 0xe3069283u) << one.name;
    EXPECT_EQ(one.run(nullptr, 0), 0u) << one.name;
  }
}

TEST(Crc32c, EveryLengthAndAlignment) {
  std::mt19937 random(7);
  std::vector<unsigned char> data(40'000);
  for (auto& byte : data) byte = static_cast<unsigned char>(random());
  std::vector<size_t> lengths(2000);
  std::iota(lengths.begin(), lengths.end(), size_t{0});
  for (size_t around : {3 * 4096, 2 * 3 * 4096, 3 * 4096 + 3 * 256})
    for (size_t length = around - 9; length <= around + 9; ++length) lengths.push_back(length);
  for (size_t length : lengths) {
    for (size_t offset : {0, 1, 7}) {
      const uint32_t expected = by_definition(data.data() + offset, length);
      for (const Crc32cImplementation& one : crc32c_implementations())
        ASSERT_EQ(one.run(data.data() + offset, length), expected) << one.name << " " << length;
    }
  }
}

TEST(Crc32c, ASingleBitShowsWhereverItIs) {
  std::vector<unsigned char> data(13'000, 0x33);
  const uint32_t before = crc32c(data.data(), data.size());
  for (size_t bit = 0; bit < data.size() * 8; bit += 97) {
    data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    ASSERT_NE(crc32c(data.data(), data.size()), before) << bit;
    data[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
  }
  EXPECT_EQ(crc32c(data.data(), data.size()), before);
}

TEST(Crc32c, TheBestComesFirstAndTheLastNeedsNothing) {
  const auto all = crc32c_implementations();
  ASSERT_FALSE(all.empty());
  EXPECT_STREQ(all.back().name, "software");
  RecordProperty("implementation", all.front().name);
}

}  // namespace
}  // namespace hfr
