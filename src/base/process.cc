#include "base/process.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/text.hpp"

namespace hfr {
namespace {

struct Stat {
  char state = '?';
  uint64_t start = 0;
};

std::optional<Stat> read_stat(int pid) {
  // The process may vanish at any time; getline() takes that for the end, the buffer itself throws.
  std::ifstream file(cat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text, '\0');
  // The name in parentheses may hold anything.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  fields.imbue(std::locale::classic());
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start;
  if (!fields) return std::nullopt;
  return stat;
}

// The first thread has ended and others go on.
bool has_other_threads(int pid) {
  std::error_code error;
  std::filesystem::directory_iterator task(cat("/proc/", pid, "/task"), error);
  int num_threads = 0;
  for (; !error && task != end(task); task.increment(error)) ++num_threads;
  return !error && num_threads > 1;
}

}  // namespace

ProcessIdentity this_process() {
  ProcessIdentity me;
  me.pid = getpid();
  if (const auto stat = read_stat(me.pid)) me.start = stat->start;
  struct stat info {};
  if (stat("/proc/self/ns/pid", &info) == 0) me.pid_namespace = info.st_ino;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> me.boot_id;
  return me;
}

ProcessState look_at(const ProcessIdentity& process, const ProcessIdentity& here) {
  if (here.start == 0 || process.start == 0 || process.boot_id != here.boot_id ||
      process.pid_namespace != here.pid_namespace) {
    return ProcessState::kUnknown;
  }
  const auto stat = read_stat(process.pid);
  if (!stat || stat->start != process.start) return ProcessState::kDead;
  switch (stat->state) {
    case 'Z':
    case 'X':
      return has_other_threads(process.pid) ? ProcessState::kRunning : ProcessState::kDead;
    case 'T':
    case 't':
      return ProcessState::kStopped;
    default:
      return ProcessState::kRunning;
  }
}

}  // namespace hfr
