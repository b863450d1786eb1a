// The logger: the only way the library prints. Each line: time, level, who, subsystem, sentence.
//
//   hfreduce 12:34:56.789 warn rank 3 transport: the connection to rank 5 broke
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/status.hpp"
#include "base/text.hpp"

namespace hfr {

enum class LogLevel : int { kOff = 0, kError = 1, kWarn = 2, kInfo = 3, kDebug = 4 };
constexpr size_t kNumLogLevels = 5;

// Who speaks.
enum class Subsystem : uint8_t {
  kSetUp,
  kRendezvous,  // ranks that meet, and the control plane
  kTransport,
  kDevice,
  kOperation,
  kRecovery,
  kMetrics,
};
constexpr size_t kNumSubsystems = 7;

// What is printed, by subsystem.
class LogLevels {
 public:
  explicit LogLevels(LogLevel level = LogLevel::kWarn) { levels_.fill(level); }
  LogLevel of(Subsystem subsystem) const { return levels_[static_cast<size_t>(subsystem)]; }
  void set(Subsystem subsystem, LogLevel level) { levels_[static_cast<size_t>(subsystem)] = level; }
  bool operator==(const LogLevels&) const = default;

 private:
  std::array<LogLevel, kNumSubsystems> levels_;
};

std::optional<LogLevel> parse_log_level(const std::string& text);
// "warn,transport=debug,setup=off": a level for all, or none, then levels of subsystems; what is
// not named is as in `otherwise`. Nothing when it is not of that form.
std::optional<LogLevels> parse_log_levels(const std::string& text, const LogLevels& otherwise);

// %r: the rank, %h: the machine's name, %p: the process's id.
std::string expand_path(const std::string& path, int rank);

// A destination and levels. Any thread; each line is one write. Of one subsystem and level no more
// than kBurst lines are printed in kBurstNs, debug's apart; how many were left out is said when
// that time is over, by the next line or by the end.
class Logger {
 public:
  static constexpr uint64_t kBurst = 100;
  static constexpr uint64_t kBurstNs = 10'000'000'000;

  // To standard error, errors and warnings only.
  Logger() : Logger(LogLevel::kWarn, "") {}
  // To standard error.
  Logger(LogLevel level, std::string prefix) : Logger(LogLevels(level), std::move(prefix)) {}
  Logger(const LogLevels& levels, std::string prefix);
  // Appends to the file at `path`.
  static Result<Logger> to_file(const LogLevels& levels, const std::string& path,
                                std::string prefix);
  static Result<Logger> to_file(LogLevel level, const std::string& path, std::string prefix) {
    return to_file(LogLevels(level), path, std::move(prefix));
  }

  // The same destination, for another subsystem.
  Logger of(Subsystem subsystem) const {
    Logger other = *this;
    other.subsystem_ = subsystem;
    return other;
  }

  bool enabled(LogLevel level) const { return level <= levels_.of(subsystem_); }

  template <typename... Parts>
  void log(LogLevel level, const Parts&... parts) const {
    if (enabled(level)) write(level, cat(parts...));
  }

 private:
  class Sink;
  Logger(const LogLevels& levels, std::shared_ptr<Sink> sink);
  void write(LogLevel level, const std::string& sentence) const;

  LogLevels levels_;
  Subsystem subsystem_ = Subsystem::kSetUp;
  std::shared_ptr<Sink> sink_;  // the copies share it
};

}  // namespace hfr
