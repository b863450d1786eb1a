#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <iterator>
#include <mutex>

#include "base/net.hpp"

namespace hfr {
namespace {

constexpr std::array<const char*, kNumLogLevels> kLevelNames = {"off", "error", "warn", "info",
                                                                "debug"};
constexpr std::array<const char*, kNumSubsystems> kSubsystemNames = {
    "setup", "rendezvous", "transport", "device", "operation", "recovery", "metrics"};

template <size_t kSize>
std::optional<size_t> place(const std::array<const char*, kSize>& names, const std::string& name) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) return std::nullopt;
  return static_cast<size_t>(at - names.begin());
}

std::string time_of_day() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char when[16];
  std::strftime(when, sizeof(when), "%H:%M:%S", &parts);
  const std::string ms = cat(1000 + now.tv_nsec / 1'000'000);  // three digits after the 1
  return cat(when, ".", ms.substr(1));
}

}  // namespace

// Where lines go, and how many went there lately.
class Logger::Sink {
 public:
  Sink(int fd, bool owned, std::string prefix)
      : fd_(fd), owned_(owned), prefix_(std::move(prefix)) {}
  ~Sink() {
    for (size_t subsystem = 0; subsystem < kNumSubsystems; ++subsystem) {
      for (size_t level = 0; level < kNumLogLevels; ++level)
        tell_left_out(static_cast<Subsystem>(subsystem), static_cast<LogLevel>(level));
    }
    if (owned_) close(fd_);
  }

  void write(Subsystem subsystem, LogLevel level, const std::string& sentence) {
    const std::lock_guard lock(mutex_);
    if (level != LogLevel::kDebug) {
      Window& window = of(subsystem, level);
      const uint64_t now = monotonic_ns();
      if (now >= window.until_ns) {
        tell_left_out(subsystem, level);
        window = {now + kBurstNs, 0, 0};
      }
      if (window.printed == kBurst) {
        ++window.left_out;
        return;
      }
      ++window.printed;
    }
    print(subsystem, level, sentence);
  }

 private:
  struct Window {
    uint64_t until_ns = 0;
    uint64_t printed = 0;
    uint64_t left_out = 0;
  };

  Window& of(Subsystem subsystem, LogLevel level) {
    return windows_[static_cast<size_t>(subsystem)][static_cast<size_t>(level)];
  }

  void tell_left_out(Subsystem subsystem, LogLevel level) {
    const uint64_t left_out = of(subsystem, level).left_out;
    if (left_out == 0) return;
    print(subsystem, level,
          cat(left_out, " more lines like these within ", kBurstNs / 1'000'000'000,
              " s were left out"));
  }

  void print(Subsystem subsystem, LogLevel level, const std::string& sentence) {
    std::string line = cat("hfreduce ", time_of_day(), " ", kLevelNames[static_cast<size_t>(level)],
                           prefix_.empty() ? "" : " ", prefix_, " ",
                           kSubsystemNames[static_cast<size_t>(subsystem)], ": ", sentence);
    // A sentence may quote what another process said: it shall not look like several lines.
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    line += "\n";
    // A log line that cannot be written is lost; there is nobody to tell.
    [[maybe_unused]] ssize_t written = ::write(fd_, line.data(), line.size());
  }

  const int fd_;
  const bool owned_;
  const std::string prefix_;
  std::mutex mutex_;
  std::array<std::array<Window, kNumLogLevels>, kNumSubsystems> windows_;
};

std::optional<LogLevel> parse_log_level(const std::string& text) {
  const auto found = place(kLevelNames, text);
  if (!found) return std::nullopt;
  return static_cast<LogLevel>(*found);
}

std::optional<LogLevels> parse_log_levels(const std::string& text, const LogLevels& otherwise) {
  LogLevels levels = otherwise;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const size_t equals = part.find('=');
    const auto level =
        parse_log_level(equals == std::string::npos ? part : part.substr(equals + 1));
    if (!level) return std::nullopt;
    if (equals == std::string::npos) {
      if (begin != 0) return std::nullopt;  // it would undo what stands before it
      levels = LogLevels(*level);
    } else {
      const auto subsystem = place(kSubsystemNames, part.substr(0, equals));
      if (!subsystem) return std::nullopt;
      levels.set(static_cast<Subsystem>(*subsystem), *level);
    }
    begin = end + 1;
  }
  return levels;
}

std::string expand_path(const std::string& path, int rank) {
  std::string expanded;
  for (size_t i = 0; i < path.size(); ++i) {
    const char mark = path[i] == '%' && i + 1 < path.size() ? path[i + 1] : '\0';
    if (mark == 'r') {
      expanded += cat(rank);
    } else if (mark == 'p') {
      expanded += cat(getpid());
    } else if (mark == 'h') {
      char host[256] = "";
      gethostname(host, sizeof(host) - 1);
      expanded += host;
    } else {
      expanded += path[i];
      continue;
    }
    ++i;
  }
  return expanded;
}

Logger::Logger(const LogLevels& levels, std::string prefix)
    : Logger(levels, std::make_shared<Sink>(STDERR_FILENO, false, std::move(prefix))) {}

Logger::Logger(const LogLevels& levels, std::shared_ptr<Sink> sink)
    : levels_(levels), sink_(std::move(sink)) {}

Result<Logger> Logger::to_file(const LogLevels& levels, const std::string& path,
                               std::string prefix) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0)
    return system_error(cat("HFREDUCE_LOG_FILE=", path, " cannot be opened for writing"), errno);
  return Logger(levels, std::make_shared<Sink>(fd, true, std::move(prefix)));
}

void Logger::write(LogLevel level, const std::string& sentence) const {
  sink_->write(subsystem_, level, sentence);
}

}  // namespace hfr
