// Progress: a bar on standard error, on a terminal only.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>

#include "base/text.hpp"

namespace hfr::tools {

// One line, without its end: "[#####.....] 5/10 4.0 MiB".
inline std::string progress_line(size_t done, size_t total, const std::string& what) {
  constexpr size_t kWidth = 40;
  const size_t filled = total == 0 ? kWidth : kWidth * std::min(done, total) / total;
  return cat("[", std::string(filled, '#'), std::string(kWidth - filled, '.'), "] ", done, "/",
             total, " ", what);
}

class Progress {
 public:
  // Draws nothing unless `wanted` and standard error is a terminal.
  Progress(bool wanted, size_t total)
      : shown_(wanted && isatty(STDERR_FILENO) != 0), total_(total) {}
  ~Progress() { hide(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `what` begins.
  void show(const std::string& what) {
    if (shown_) draw(cat("\r", progress_line(done_, total_, what), "\033[K"));
  }
  void step() { ++done_; }
  // Before anything else is printed: standard output may be the same terminal.
  void hide() {
    if (shown_) draw("\r\033[K");
  }

 private:
  static void draw(const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  }

  bool shown_;
  size_t total_;
  size_t done_ = 0;
};

}  // namespace hfr::tools
