// The logger: the only way the library prints. Each line: time, level, who, sentence.
#pragma once

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
  Logger(LogLevel level, int fd, std::string prefix)
      : level_(level), fd_(fd), prefix_(std::move(prefix)) {}

  bool enabled(LogLevel level) const { return level <= level_; }
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  LogLevel level() const { return level_; }
  int fd() const { return fd_; }

  template <typename... Parts>
  void log(LogLevel level, const Parts&... parts) const {
    if (enabled(level)) write(level, cat(parts...));
  }

 private:
  void write(LogLevel level, const std::string& sentence) const;

  LogLevel level_ = LogLevel::kWarn;
  int fd_ = 2;
  std::string prefix_;
};

}  // namespace hfr
