// cat("rank ", 3, " of ", 8): builds a sentence from parts. Set-up and failure paths only.
#pragma once

#include <charconv>
#include <locale>
#include <optional>
#include <sstream>
#include <string>

namespace hfr {

template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  // Numbers go to other ranks and come back: the application's locale may write 1,000.
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

// The number that the whole text is, in decimal digits.
template <typename Number>
std::optional<Number> parse_whole(const std::string& text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

// "4.0 MiB", "512 B": for people.
std::string bytes_text(size_t bytes);

}  // namespace hfr
