#include "base/log.hpp"

#include <unistd.h>

#include <ctime>

namespace hfr {

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
  line += cat(kNames[static_cast<int>(level)], prefix_.empty() ? "" : " ", prefix_, ": ", sentence, "\n");
  // A log line that cannot be written is lost; there is nobody to tell.
  [[maybe_unused]] ssize_t written = ::write(fd_, line.data(), line.size());
}

}  // namespace hfr
