// Bytes of a fuzzer's input as what targets are fed with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

namespace hfr_fuzz {

// What must hold whatever comes in.
inline void require(bool holds) {
  if (!holds) std::abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(std::as_bytes(std::span(data, size))) {}

  bool empty() const { return left_.empty(); }
  // The next bytes as a value; what is missing is zero.
  template <typename Value>
  Value value() {
    static_assert(std::is_trivially_copyable_v<Value>);
    Value value{};
    const std::span<const std::byte> from = bytes(sizeof(Value));
    if (!from.empty()) std::memcpy(static_cast<void*>(&value), from.data(), from.size());
    return value;
  }
  // At most so many of the next bytes.
  std::span<const std::byte> bytes(size_t most) {
    const auto taken = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  std::span<const std::byte> rest() { return bytes(left_.size()); }
  std::string text() {
    const auto bytes = rest();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> left_;
};

}  // namespace hfr_fuzz
