// Writes a whole file.
#pragma once

#include <string>

#include "base/status.hpp"

namespace hfr::tools {

Status write_file(const std::string& path, const std::string& text);

}  // namespace hfr::tools
