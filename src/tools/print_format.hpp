// printf's formats, for the lines of tables.
#pragma once

#include <cstdio>
#include <string>

namespace hfr::tools {

// At most 255 characters.
template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char line[256];
  const int size = std::snprintf(line, sizeof(line), pattern, values...);
  return std::string(line, static_cast<size_t>(size));
}

}  // namespace hfr::tools
