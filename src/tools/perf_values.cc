#include "tools/perf_values.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tools/number_format.hpp"

namespace hfr::tools {
namespace {

constexpr int64_t kAverageUlps = 2;

// splitmix64's finaliser: every bit of the input moves every bit of the output.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Which ranks contribute at an element, and how much each may.
struct Window {
  int64_t ranks;
  int64_t most;
};
// Any partial sum stays within `limit`.
Window sum_window(int64_t limit, int num_ranks) {
  constexpr int64_t kMost = int64_t{1} << 20;
  const int64_t most = std::clamp<int64_t>(limit / num_ranks, 1, kMost);
  return {std::min<int64_t>(num_ranks, limit / most), most};
}

// The values of one type, operation and number of ranks.
class Values {
 public:
  Values(hfr_dtype_t dtype, hfr_op_t op, int num_ranks)
      : format_(number_format(dtype)),
        size_(hfr_dtype_size(dtype)),
        op_(op),
        num_ranks_(num_ranks) {
    if (format_.is_float()) {
      // Whole numbers up to 2^precision are exact.
      window_ = sum_window(int64_t{1} << std::min(format_.mantissa_bits + 1, 40), num_ranks);
      // Powers of two up to the largest exponent, less one for the significand.
      product_ranks_ = std::min(num_ranks, format_.bias() - 1);
    } else {
      // An average's sum must not wrap.
      window_ = sum_window(
          (int64_t{1} << std::min(format_.bits - (format_.is_signed ? 1 : 0), 62)) - 1, num_ranks);
    }
  }

  size_t size() const { return size_; }

  uint64_t input(int rank, size_t i) const {
    return format_.is_float() ? encode_float(format_, float_value(rank, i))
                              : integer_value(rank, i);
  }
  uint64_t result(size_t i) const {
    return format_.is_float() ? float_result(i) : integer_result(i);
  }

 private:
  uint64_t element_hash(size_t i) const { return mix(i); }
  uint64_t rank_hash(int rank, size_t i) const {
    return mix(i * 0x10001 + static_cast<uint64_t>(rank) + 0xabcdef);
  }

  bool contributes(int rank, size_t i, int64_t ranks) const {
    const auto n = static_cast<uint64_t>(num_ranks_);
    const uint64_t first = element_hash(i) % n;
    return (static_cast<uint64_t>(rank) + n - first) % n < static_cast<uint64_t>(ranks);
  }
  // 1 to `most`, of either sign.
  int64_t contribution(int rank, size_t i) const {
    if (!contributes(rank, i, window_.ranks)) return 0;
    const uint64_t hash = rank_hash(rank, i);
    const auto magnitude =
        static_cast<int64_t>(1 + (hash >> 1) % static_cast<uint64_t>(window_.most));
    return format_.is_signed && (hash & 1) != 0 ? -magnitude : magnitude;
  }

  // [1, 2), any significand.
  double significand(uint64_t hash) const {
    const uint64_t fraction = hash & ((uint64_t{1} << format_.mantissa_bits) - 1);
    return 1 + std::ldexp(static_cast<double>(fraction), -format_.mantissa_bits);
  }

  double float_value(int rank, size_t i) const {
    const uint64_t shared = element_hash(i);
    const uint64_t hash = rank_hash(rank, i);
    const double sign = hash >> 63 != 0 ? -1 : 1;
    switch (op_) {
      case HFR_SUM:
      case HFR_AVG:
        return std::ldexp(static_cast<double>(contribution(rank, i)),
                          static_cast<int>((shared >> 32) % 5) - 2);
      case HFR_PROD: {
        double value = sign;
        if (contributes(rank, i, product_ranks_))
          value = std::ldexp(value, static_cast<int>((hash >> 58) % 3) - 1);
        if ((shared >> 16) % static_cast<uint64_t>(num_ranks_) == static_cast<uint64_t>(rank))
          value *= significand(hash);
        return value;
      }
      default:
        return std::ldexp(sign * significand(hash), static_cast<int>((hash >> 58) % 8) - 4);
    }
  }

  uint64_t float_result(size_t i) const {
    double result = float_value(0, i);
    for (int rank = 1; rank < num_ranks_; ++rank) {
      const double value = float_value(rank, i);
      switch (op_) {
        case HFR_PROD:
          result *= value;
          break;
        case HFR_MIN:
          result = std::min(result, value);
          break;
        case HFR_MAX:
          result = std::max(result, value);
          break;
        default:
          result += value;
      }
    }
    if (op_ == HFR_AVG) result /= num_ranks_;
    return encode_float(format_, result);
  }

  uint64_t truncated(uint64_t value) const {
    return format_.bits == 64 ? value : value & ((uint64_t{1} << format_.bits) - 1);
  }
  int64_t sign_extended(uint64_t value) const {
    const int shift = 64 - format_.bits;
    return static_cast<int64_t>(value << shift) >> shift;
  }

  uint64_t integer_value(int rank, size_t i) const {
    switch (op_) {
      case HFR_AVG:
        return truncated(static_cast<uint64_t>(contribution(rank, i)));
      case HFR_PROD:
        return truncated(rank_hash(rank, i) | 1);
      default:
        return truncated(rank_hash(rank, i));
    }
  }

  bool less(uint64_t a, uint64_t b) const {
    return format_.is_signed ? sign_extended(a) < sign_extended(b) : a < b;
  }

  uint64_t integer_result(size_t i) const {
    uint64_t result = integer_value(0, i);
    for (int rank = 1; rank < num_ranks_; ++rank) {
      const uint64_t value = integer_value(rank, i);
      switch (op_) {
        case HFR_PROD:
          result = truncated(result * value);
          break;
        case HFR_MIN:
          result = less(value, result) ? value : result;
          break;
        case HFR_MAX:
          result = less(result, value) ? value : result;
          break;
        default:
          result = truncated(result + value);
      }
    }
    if (op_ != HFR_AVG) return result;
    if (!format_.is_signed) return result / static_cast<uint64_t>(num_ranks_);
    return truncated(static_cast<uint64_t>(sign_extended(result) / num_ranks_));
  }

  NumberFormat format_;
  size_t size_;
  hfr_op_t op_;
  int num_ranks_;
  Window window_{};
  int64_t product_ranks_ = 0;
};

template <typename Bits>
std::vector<std::byte> fill(size_t count, size_t size, Bits&& bits_of) {
  std::vector<std::byte> pattern(count * size);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = bits_of(i);
    std::memcpy(pattern.data() + i * size, &bits, size);  // little endian
  }
  return pattern;
}

uint64_t read_bits(const std::byte* at, size_t size) {
  uint64_t bits = 0;
  std::memcpy(&bits, at, size);
  return bits;
}

}  // namespace

std::vector<std::byte> exact_input(hfr_dtype_t dtype, hfr_op_t op, int rank, int num_ranks,
                                   size_t count) {
  const Values values(dtype, op, num_ranks);
  return fill(std::min(count, kPatternElements), values.size(),
              [&](size_t i) { return values.input(rank, i); });
}

std::vector<std::byte> exact_result(hfr_dtype_t dtype, hfr_op_t op, int num_ranks, size_t count) {
  const Values values(dtype, op, num_ranks);
  return fill(std::min(count, kPatternElements), values.size(),
              [&](size_t i) { return values.result(i); });
}

std::vector<std::byte> neutral_input(hfr_dtype_t dtype, hfr_op_t op) {
  const NumberFormat format = number_format(dtype);
  const uint64_t one = format.is_float() ? encode_float(format, 1) : 1;
  return fill(1, hfr_dtype_size(dtype), [&](size_t) { return op == HFR_PROD ? one : 0; });
}

void tile(void* buffer, size_t bytes, const std::vector<std::byte>& pattern) {
  auto* to = static_cast<std::byte*>(buffer);
  size_t done = std::min(bytes, pattern.size());
  if (done == 0) return;
  std::memcpy(to, pattern.data(), done);
  while (done < bytes) {
    // Doubling keeps copies of short patterns long.
    const size_t more = std::min(done, bytes - done);
    std::memcpy(to + done, to, more);
    done += more;
  }
}

size_t count_wrong(const void* buffer, size_t bytes, hfr_dtype_t dtype, hfr_op_t op,
                   const std::vector<std::byte>& pattern) {
  const size_t size = hfr_dtype_size(dtype);
  const NumberFormat format = number_format(dtype);
  const int64_t tolerance = op == HFR_AVG && format.is_float() ? kAverageUlps : 0;
  const auto* got = static_cast<const std::byte*>(buffer);
  size_t wrong = 0;
  for (size_t done = 0; done < bytes; done += pattern.size()) {
    const size_t block = std::min(pattern.size(), bytes - done);
    if (std::memcmp(got + done, pattern.data(), block) == 0) continue;
    for (size_t i = 0; i < block; i += size) {
      const uint64_t found = read_bits(got + done + i, size);
      const uint64_t expected = read_bits(pattern.data() + i, size);
      if (found == expected) continue;
      if (tolerance == 0 || ulp_distance(format, found, expected) > tolerance) ++wrong;
    }
  }
  return wrong;
}

}  // namespace hfr::tools
