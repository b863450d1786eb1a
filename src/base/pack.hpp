// pack/unpack: a list of byte strings as one, for what ranks tell each other at set-up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hfr {

inline std::vector<std::byte> pack(const std::vector<std::string>& fields) {
  std::vector<std::byte> bytes;
  for (const std::string& field : fields) {
    auto size = static_cast<uint32_t>(field.size());
    for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(size >> (8 * i)));
    for (char c : field) bytes.push_back(static_cast<std::byte>(c));
  }
  return bytes;
}

// Nothing when `bytes` is not exactly `num_fields` packed fields.
inline std::optional<std::vector<std::string>> unpack(std::span<const std::byte> bytes,
                                                      size_t num_fields) {
  std::vector<std::string> fields;
  while (!bytes.empty()) {
    if (bytes.size() < 4 || fields.size() == num_fields) return std::nullopt;
    size_t size = 0;
    for (size_t i = 0; i < 4; ++i) size |= std::to_integer<size_t>(bytes[i]) << (8 * i);
    bytes = bytes.subspan(4);
    if (size > bytes.size()) return std::nullopt;
    fields.emplace_back(reinterpret_cast<const char*>(bytes.data()), size);
    bytes = bytes.subspan(size);
  }
  if (fields.size() != num_fields) return std::nullopt;
  return fields;
}

}  // namespace hfr
