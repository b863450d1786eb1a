#include "tools/children.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

namespace hfr::tools {
namespace {

// Field 4 of /proc/PID/stat; the name before it may hold spaces and brackets. -1: gone.
pid_t parent_of(const std::filesystem::path& directory) {
  std::ifstream file(directory / "stat");
  std::string line;
  if (!std::getline(file, line)) return -1;
  size_t bracket = line.rfind(')');
  if (bracket == std::string::npos || bracket + 4 >= line.size()) return -1;
  return static_cast<pid_t>(std::atol(line.c_str() + bracket + 4));
}

}  // namespace

std::vector<pid_t> direct_children() {
  std::vector<pid_t> children;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (parent_of(entry->path()) == getpid())
      children.push_back(static_cast<pid_t>(std::atol(name.c_str())));
  }
  return children;
}

void signal_children(int signal) {
  for (pid_t child : direct_children()) kill(child, signal);
}

void kill_and_reap_children() {
  for (;;) {
    signal_children(SIGKILL);
    if (waitpid(-1, nullptr, 0) < 0 && errno != EINTR) return;
  }
}

}  // namespace hfr::tools
