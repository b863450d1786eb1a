// What a kernel must return for one element, by reference.hpp's formats.
#pragma once

#include <algorithm>
#include <type_traits>

#include "reference.hpp"

namespace hfr_tests {

using hfr::DType;
using hfr::Op;

inline bool is_small_float(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat8E4M3 ||
         dtype == DType::kFloat8E5M2;
}

// One element's inputs and what happens to them.
struct Element {
  DType dtype;
  Op op;
  std::vector<uint64_t> inputs;  // their bits
  int divisor = 1;
  std::vector<int> scales = {};  // a pre-multiplied sum by these eighths; integers: by these
};

template <typename A>
A scale_of(int scale) {
  return std::is_integral_v<A> ? static_cast<A>(scale) : static_cast<A>(scale) / static_cast<A>(8);
}

template <typename A>
A multiply(A a, A b) {
  if constexpr (std::is_integral_v<A>) {
    return static_cast<A>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return a * b;
  }
}

// One element of the result, in the order and precision that reduce.hpp promises.
template <typename A>
A fold(const Element& element, std::vector<A> values) {
  const Op op = element.op;
  for (size_t i = 0; i < element.scales.size(); ++i) {
    values[i] = multiply(values[i], scale_of<A>(element.scales[i]));
  }
  A result = values[0];
  for (size_t i = 1; i < values.size(); ++i) {
    A x = values[i];
    using U =
        std::conditional_t<std::is_integral_v<A>, std::make_unsigned<A>, std::type_identity<A>>;
    using W = typename U::type;
    switch (op) {
      case Op::kSum:
      case Op::kAvg:
      case Op::kPremulSum:
        result = static_cast<A>(static_cast<W>(static_cast<W>(result) + static_cast<W>(x)));
        break;
      case Op::kProd:
        result = multiply(result, x);
        break;
      case Op::kMin:
        if (x != x || result != result) {
          result = x != x ? x : result;
        } else {
          result = std::min(result, x);
        }
        break;
      case Op::kMax:
        if (x != x || result != result) {
          result = x != x ? x : result;
        } else {
          result = std::max(result, x);
        }
        break;
    }
  }
  if (op == Op::kAvg) {
    if constexpr (std::is_integral_v<A>) {
      result = static_cast<A>(result / static_cast<A>(element.divisor));
    } else {
      result /= static_cast<A>(element.divisor);
    }
  }
  return result;
}

// The one NaN that a NaN sum becomes.
inline uint64_t nan_bits(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
      return 0x7e00;
    case DType::kBFloat16:
      return 0x7fc0;
    case DType::kFloat32:
      return 0x7fc00000;
    case DType::kFloat64:
      return 0x7ff8000000000000;
    case DType::kFloat8E4M3:
      return 0x7f;
    default:
      return 0x7e;
  }
}

inline uint64_t expected_bits(const Element& element) {
  const DType dtype = element.dtype;
  auto run = [&](auto zero) -> uint64_t {
    using T = decltype(zero);
    std::vector<T> values;
    for (uint64_t bits : element.inputs) {
      T value;
      std::memcpy(&value, &bits, sizeof(T));
      values.push_back(value);
    }
    T result = fold<T>(element, values);
    if (result != result) return nan_bits(dtype);
    uint64_t bits = 0;
    std::memcpy(&bits, &result, sizeof(T));
    return bits;
  };
  switch (dtype) {
    case DType::kInt8:
      return run(int8_t{});
    case DType::kUint8:
      return run(uint8_t{});
    case DType::kInt16:
      return run(int16_t{});
    case DType::kUint16:
      return run(uint16_t{});
    case DType::kInt32:
      return run(int32_t{});
    case DType::kUint32:
      return run(uint32_t{});
    case DType::kInt64:
      return run(int64_t{});
    case DType::kUint64:
      return run(uint64_t{});
    case DType::kFloat32:
      return run(float{});
    case DType::kFloat64:
      return run(double{});
    default:
      break;
  }
  std::vector<float> values;
  for (uint64_t bits : element.inputs)
    values.push_back(static_cast<float>(decode(dtype, static_cast<uint32_t>(bits))));
  const float result = fold<float>(element, values);
  // What overflows E4M3 becomes a NaN of its sign.
  return std::isnan(result) ? nan_bits(dtype) : encode(dtype, result);
}

// The same scales as a kernel takes them.
class ScaleArray {
 public:
  ScaleArray(DType dtype, const std::vector<int>& scales) {
    for (int scale : scales) {
      switch (dtype) {
        case DType::kInt8:
        case DType::kUint8:
          append(static_cast<uint8_t>(scale));
          break;
        case DType::kInt16:
        case DType::kUint16:
          append(static_cast<uint16_t>(scale));
          break;
        case DType::kInt32:
        case DType::kUint32:
          append(static_cast<uint32_t>(scale));
          break;
        case DType::kInt64:
        case DType::kUint64:
          append(static_cast<uint64_t>(scale));
          break;
        case DType::kFloat64:
          append(scale_of<double>(scale));
          break;
        default:
          append(scale_of<float>(scale));
      }
    }
  }
  const void* data() const { return words_.data(); }

 private:
  template <typename A>
  void append(A value) {
    words_.resize((bytes_ + sizeof(A) + 7) / 8);
    std::memcpy(reinterpret_cast<std::byte*>(words_.data()) + bytes_, &value, sizeof(A));
    bytes_ += sizeof(A);
  }
  std::vector<uint64_t> words_;
  size_t bytes_ = 0;
};

inline bool is_nan(DType dtype, uint64_t bits) {
  if (dtype == DType::kFloat32) {
    float value;
    std::memcpy(&value, &bits, 4);
    return std::isnan(value);
  }
  if (dtype == DType::kFloat64) {
    double value;
    std::memcpy(&value, &bits, 8);
    return std::isnan(value);
  }
  return is_small_float(dtype) && std::isnan(decode(dtype, static_cast<uint32_t>(bits)));
}

}  // namespace hfr_tests
