#include "tools/perf_values.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace hfr::tools {
namespace {

constexpr std::array<const char*, HFR_NUM_DTYPES> kTypeNames = {
    "int8",   "uint8", "int16",    "uint16", "int32",  "uint32", "int64",
    "uint64", "half",  "bfloat16", "float",  "double", "f8e4m3", "f8e5m2"};
constexpr std::array<const char*, HFR_NUM_OPS> kOpNames = {"sum", "prod", "min", "max", "avg"};

struct FloatFormat {
  int exponent_bits = 0;  // 0: an integer type
  int mantissa_bits = 0;
};

FloatFormat format(hfr_dtype_t dtype) {
  switch (dtype) {
    case HFR_FLOAT16:
      return {5, 10};
    case HFR_BFLOAT16:
      return {8, 7};
    case HFR_FLOAT32:
      return {8, 23};
    case HFR_FLOAT64:
      return {11, 52};
    case HFR_FLOAT8_E4M3:
      return {4, 3};
    case HFR_FLOAT8_E5M2:
      return {5, 2};
    default:
      return {};
  }
}

// A small whole number, not negative, in the type's bits.
uint64_t encode(hfr_dtype_t dtype, int value) {
  FloatFormat f = format(dtype);
  if (f.exponent_bits == 0 || value == 0) return static_cast<uint64_t>(value);
  int exponent = std::ilogb(static_cast<double>(value));
  auto mantissa = static_cast<uint64_t>(
      std::ldexp(value - std::ldexp(1.0, exponent), f.mantissa_bits - exponent));
  uint64_t bias = (uint64_t{1} << (f.exponent_bits - 1)) - 1;
  return (bias + static_cast<uint64_t>(exponent)) << f.mantissa_bits | mantissa;
}

// Two ranks differ from the others at each element, so that the result is small enough for 8 bits
// at any number of ranks, and a rank that is left out or added twice shows.
int input_value(hfr_op_t op, int rank, int num_ranks, size_t i) {
  const auto n = static_cast<size_t>(num_ranks);
  const bool first = static_cast<size_t>(rank) == i % n;
  const bool second = static_cast<size_t>(rank) == i / 7 % n;
  switch (op) {
    case HFR_SUM:
      return (first ? 2 : 0) + (second ? 1 : 0);
    case HFR_PROD:
      return first || second ? 2 : 1;
    case HFR_MIN:
      return first ? 1 : 2 + (rank + static_cast<int>(i)) % 3;
    case HFR_MAX:
      return first ? 6 : 2 + (rank + static_cast<int>(i)) % 3;
    case HFR_AVG:
      return 1 + static_cast<int>(i % 3);
  }
  return 0;
}

int expected_value(hfr_op_t op, int num_ranks, size_t i) {
  const auto n = static_cast<size_t>(num_ranks);
  switch (op) {
    case HFR_SUM:
      return 3;
    case HFR_PROD:
      return i % n == i / 7 % n ? 2 : 4;
    case HFR_MIN:
      return 1;
    case HFR_MAX:
      return 6;
    case HFR_AVG:
      return 1 + static_cast<int>(i % 3);
  }
  return 0;
}

template <typename Value>
std::vector<std::byte> make_pattern(hfr_dtype_t dtype, int num_ranks, Value&& value) {
  const size_t size = hfr_dtype_size(dtype);
  std::vector<std::byte> pattern(pattern_period(num_ranks) * size);
  for (size_t i = 0; i * size < pattern.size(); ++i) {
    uint64_t bits = encode(dtype, value(i));
    std::memcpy(pattern.data() + i * size, &bits, size);
  }
  return pattern;
}

int64_t read_bits(const std::byte* at, size_t size) {
  uint64_t bits = 0;
  std::memcpy(&bits, at, size);
  return static_cast<int64_t>(bits);
}

}  // namespace

const char* type_name(hfr_dtype_t dtype) { return kTypeNames[static_cast<size_t>(dtype)]; }
const char* op_name(hfr_op_t op) { return kOpNames[static_cast<size_t>(op)]; }

std::optional<hfr_dtype_t> parse_type(const std::string& name) {
  auto found = std::find(kTypeNames.begin(), kTypeNames.end(), name);
  if (found == kTypeNames.end()) return std::nullopt;
  return static_cast<hfr_dtype_t>(found - kTypeNames.begin());
}
std::optional<hfr_op_t> parse_op(const std::string& name) {
  auto found = std::find(kOpNames.begin(), kOpNames.end(), name);
  if (found == kOpNames.end()) return std::nullopt;
  return static_cast<hfr_op_t>(found - kOpNames.begin());
}

std::vector<size_t> size_sequence(size_t first, size_t last, size_t step, double factor) {
  std::vector<size_t> sizes;
  for (size_t size = first; size <= last;) {
    sizes.push_back(size);
    size_t next =
        factor > 1 ? static_cast<size_t>(static_cast<double>(size) * factor) : size + step;
    if (next <= size) break;
    size = next;
  }
  return sizes;
}

double algorithm_bandwidth(size_t bytes, double seconds) {
  return static_cast<double>(bytes) / 1e9 / seconds;
}
double bus_bandwidth(size_t bytes, double seconds, int num_ranks) {
  return algorithm_bandwidth(bytes, seconds) * 2.0 * (num_ranks - 1) / num_ranks;
}

size_t pattern_period(int num_ranks) {
  // i % n and i / 7 % n repeat together after 7 n elements; averages after 3.
  return static_cast<size_t>(num_ranks) * 7 * 3;
}

std::vector<std::byte> input_pattern(hfr_dtype_t dtype, hfr_op_t op, int rank, int num_ranks) {
  // min and max vary with (rank + i) % 3 too, which 21 n covers.
  return make_pattern(dtype, num_ranks,
                      [&](size_t i) { return input_value(op, rank, num_ranks, i); });
}
std::vector<std::byte> expected_pattern(hfr_dtype_t dtype, hfr_op_t op, int num_ranks) {
  return make_pattern(dtype, num_ranks, [&](size_t i) { return expected_value(op, num_ranks, i); });
}

void tile(void* buffer, size_t bytes, const std::vector<std::byte>& pattern) {
  auto* to = static_cast<std::byte*>(buffer);
  for (size_t done = 0; done < bytes; done += pattern.size()) {
    std::memcpy(to + done, pattern.data(), std::min(pattern.size(), bytes - done));
  }
}

size_t count_wrong(const void* buffer, size_t bytes, hfr_dtype_t dtype, hfr_op_t op,
                   const std::vector<std::byte>& pattern) {
  const size_t size = hfr_dtype_size(dtype);
  const int64_t tolerance = op == HFR_AVG && format(dtype).exponent_bits > 0 ? 2 : 0;
  const auto* got = static_cast<const std::byte*>(buffer);
  size_t wrong = 0;
  for (size_t done = 0; done < bytes; done += pattern.size()) {
    const size_t block = std::min(pattern.size(), bytes - done);
    if (std::memcmp(got + done, pattern.data(), block) == 0) continue;
    for (size_t i = 0; i < block; i += size) {
      // The values are positive: neighbouring bits are neighbouring numbers.
      int64_t distance = read_bits(got + done + i, size) - read_bits(pattern.data() + i, size);
      wrong += std::llabs(distance) > tolerance ? 1 : 0;
    }
  }
  return wrong;
}

}  // namespace hfr::tools
