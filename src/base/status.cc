#include "base/status.hpp"

#include <system_error>

namespace hfr {

Status system_error(const std::string& what, int error_number) {
  Code code = error_number == ENOMEM ? Code::kOutOfMemory : Code::kSystemError;
  return Status(code, what + ": " + std::generic_category().message(error_number));
}

}  // namespace hfr
