#include "tools/command_line.hpp"

#include <algorithm>

namespace hfr::tools {

std::vector<std::string> without_options(const std::vector<std::string>& arguments,
                                         const std::vector<std::string>& names) {
  std::vector<std::string> kept;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (std::find(names.begin(), names.end(), argument) != names.end()) {
      ++i;  // its value
      continue;
    }
    const bool with_value = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return argument.rfind(name + "=", 0) == 0;
    });
    if (!with_value) kept.push_back(argument);
  }
  return kept;
}

bool is_launched(const std::function<std::optional<std::string>(const std::string&)>& environment) {
  for (const char* name : {"RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    auto value = environment(name);
    if (value && !value->empty()) return true;
  }
  return false;
}

}  // namespace hfr::tools
