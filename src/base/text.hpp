// cat("rank ", 3, " of ", 8): builds a sentence from parts. Set-up and failure paths only.
#pragma once

#include <sstream>
#include <string>

namespace hfr {

template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// "4.0 MiB", "512 B": for people.
std::string bytes_text(size_t bytes);

}  // namespace hfr
