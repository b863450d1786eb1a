#include "tools/write_file.hpp"

#include <fstream>

#include "base/text.hpp"

namespace hfr::tools {

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (file) return Status();
  return Status(Code::kSystemError, cat("cannot write ", path));
}

}  // namespace hfr::tools
