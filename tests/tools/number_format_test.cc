#include "tools/number_format.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace hfr::tools {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(NumberFormat, EveryNarrowFloatSurvivesTheRoundTrip) {
  for (hfr_dtype_t dtype : {HFR_FLOAT8_E4M3, HFR_FLOAT8_E5M2, HFR_FLOAT16, HFR_BFLOAT16}) {
    const NumberFormat format = number_format(dtype);
    for (uint64_t bits = 0; bits < uint64_t{1} << format.bits; ++bits) {
      const double value = decode_float(format, bits);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(decode_float(format, encode_float(format, value))));
      } else {
        ASSERT_EQ(encode_float(format, value), bits) << "type " << dtype << " value " << value;
      }
    }
  }
}

TEST(NumberFormat, RoundsToNearestTiesToEven) {
  for (hfr_dtype_t dtype : {HFR_FLOAT8_E4M3, HFR_FLOAT8_E5M2, HFR_FLOAT16, HFR_BFLOAT16}) {
    const NumberFormat format = number_format(dtype);
    for (uint64_t bits = 0; bits + 1 < uint64_t{1} << (format.bits - 1); ++bits) {
      const double low = decode_float(format, bits);
      const double high = decode_float(format, bits + 1);
      if (!std::isfinite(low) || !std::isfinite(high)) continue;
      const double middle = (low + high) / 2;
      EXPECT_EQ(encode_float(format, middle), bits % 2 == 0 ? bits : bits + 1);
      EXPECT_EQ(encode_float(format, std::nextafter(middle, low)), bits);
      EXPECT_EQ(encode_float(format, std::nextafter(middle, high)), bits + 1);
    }
  }
}

TEST(NumberFormat, AgreesWithTheCompilersFloats) {
  const NumberFormat single = number_format(HFR_FLOAT32);
  const NumberFormat full = number_format(HFR_FLOAT64);
  for (double value : {0.0, -0.0, 1.0, -1.5, 0.1, 3.4028234e38, 3.5e38, 1e-38, 1e-45, 1e-46, -7e-42,
                       kInfinity, -kInfinity}) {
    EXPECT_EQ(encode_float(single, value), std::bit_cast<uint32_t>(static_cast<float>(value)))
        << value;
    EXPECT_EQ(encode_float(full, value), std::bit_cast<uint64_t>(value)) << value;
    EXPECT_EQ(decode_float(full, std::bit_cast<uint64_t>(value)), value);
  }
  EXPECT_EQ(encode_float(full, 5e-324), 1u);
}

TEST(NumberFormat, SpecialValuesOfEightBits) {
  const NumberFormat e4m3 = number_format(HFR_FLOAT8_E4M3);
  EXPECT_EQ(decode_float(e4m3, 0x7e), 448);
  EXPECT_EQ(encode_float(e4m3, 448), 0x7eu);
  EXPECT_EQ(encode_float(e4m3, 1000), 0x7fu);
  EXPECT_EQ(encode_float(e4m3, -kInfinity), 0xffu);
  EXPECT_EQ(decode_float(e4m3, 0x01), std::ldexp(1, -9));
  const NumberFormat e5m2 = number_format(HFR_FLOAT8_E5M2);
  EXPECT_EQ(decode_float(e5m2, 0x7b), 57344);
  EXPECT_EQ(encode_float(e5m2, 1e9), 0x7cu);
  EXPECT_TRUE(std::isnan(decode_float(e5m2, encode_float(e5m2, kNan))));
}

TEST(NumberFormat, UlpDistance) {
  const NumberFormat format = number_format(HFR_FLOAT32);
  auto bits = [](float value) { return std::bit_cast<uint32_t>(value); };
  EXPECT_EQ(ulp_distance(format, bits(1.0f), bits(1.0f)), 0);
  EXPECT_EQ(ulp_distance(format, bits(0.0f), bits(-0.0f)), 0);
  EXPECT_EQ(ulp_distance(format, bits(1.0f), bits(std::nextafter(1.0f, 2.0f))), 1);
  EXPECT_EQ(ulp_distance(format, 2, 0x80000001u), 3);
  EXPECT_EQ(ulp_distance(format, bits(1.0f), bits(std::nanf(""))),
            std::numeric_limits<int64_t>::max());
  EXPECT_GT(ulp_distance(number_format(HFR_FLOAT64), std::bit_cast<uint64_t>(1e300),
                         std::bit_cast<uint64_t>(-1e300)),
            2);
}

}  // namespace
}  // namespace hfr::tools
