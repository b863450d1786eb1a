// The logger: the only way the library prints. Each line: time, level, who, sentence.
#pragma once

#include <memory>
#include <string>

#include "base/status.hpp"
#include "base/text.hpp"

namespace hfr {

enum class LogLevel : int { kOff = 0, kError = 1, kWarn = 2, kInfo = 3, kDebug = 4 };

// A destination and a level. Any thread; each line is one write.
class Logger {
 public:
  // To standard error, errors and warnings only.
  Logger() = default;
  // To standard error.
  Logger(LogLevel level, std::string prefix) : level_(level), prefix_(std::move(prefix)) {}
  // Appends to the file at `path`, which the copies of the logger share.
  static Result<Logger> to_file(LogLevel level, const std::string& path, std::string prefix);

  bool enabled(LogLevel level) const { return level <= level_; }

  template <typename... Parts>
  void log(LogLevel level, const Parts&... parts) const {
    if (enabled(level)) write(level, cat(parts...));
  }

 private:
  void write(LogLevel level, const std::string& sentence) const;

  LogLevel level_ = LogLevel::kWarn;
  std::shared_ptr<const int> file_;  // null: standard error
  std::string prefix_;
};

}  // namespace hfr
