#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace hfr {

Result<Logger> Logger::to_file(LogLevel level, const std::string& path, std::string prefix) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0)
    return system_error(cat("HFREDUCE_LOG_FILE=", path, " cannot be opened for writing"), errno);
  Logger logger(level, std::move(prefix));
  logger.file_ = std::shared_ptr<const int>(new int(fd), [](const int* owned) {
    close(*owned);
    delete owned;
  });
  return logger;
}

void Logger::write(LogLevel level, const std::string& sentence) const {
  static constexpr const char* kNames[] = {"off", "error", "warn", "info", "debug"};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char when[16];
  std::strftime(when, sizeof(when), "%H:%M:%S", &parts);
  std::string line = cat("hfreduce ", when, ".", 1000 + now.tv_nsec / 1'000'000, " ");
  // 1000 + ms keeps three digits; drop the leading 1.
  line.erase(line.rfind('.') + 1, 1);
  line += cat(kNames[static_cast<int>(level)], prefix_.empty() ? "" : " ", prefix_, ": ", sentence,
              "\n");
  // A log line that cannot be written is lost; there is nobody to tell.
  [[maybe_unused]] ssize_t written =
      ::write(file_ ? *file_ : STDERR_FILENO, line.data(), line.size());
}

}  // namespace hfr
