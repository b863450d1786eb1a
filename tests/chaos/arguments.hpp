// What chaos_rank was started with: NAME=VALUE words.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>

namespace hfr_tests {

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const size_t equals = argument.find('=');
      if (equals == std::string::npos) continue;
      values_[argument.substr(0, equals)] = argument.substr(equals + 1);
    }
  }
  std::string text(const char* name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? "" : found->second;
  }
  uint64_t number(const char* name) const { return std::strtoull(text(name).c_str(), nullptr, 10); }
  bool flag(const char* name) const { return number(name) != 0; }

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace hfr_tests
