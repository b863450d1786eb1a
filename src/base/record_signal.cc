#include "base/record_signal.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "base/text.hpp"

namespace hfr {
namespace {

constexpr size_t kMostPlaces = 4096;

// What the handler reads; changed under the mutex. A place is emptied before its owner goes, and
// the owner waits until no handler runs that may have seen it.
std::array<std::atomic<const DumpOnSignal*>, kMostPlaces> g_places;
std::atomic<int> g_num_handlers{0};
std::mutex g_mutex;
struct Handled {
  int users = 0;
  struct sigaction earlier {};
};
std::array<Handled, NSIG> g_handled;

// What was installed before is called as it would have been, but for its mask.
void call_earlier(int signal, siginfo_t* info, void* context) {
  const struct sigaction& earlier = g_handled[static_cast<size_t>(signal)].earlier;
  if (earlier.sa_handler == SIG_DFL || earlier.sa_handler == SIG_IGN) return;
  if ((earlier.sa_flags & SA_SIGINFO) != 0) {
    earlier.sa_sigaction(signal, info, context);
  } else {
    earlier.sa_handler(signal);
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  g_num_handlers.fetch_add(1);
  for (const auto& place : g_places) {
    const DumpOnSignal* dump = place.load();
    if (dump != nullptr && dump->signal() == signal) dump->write();
  }
  g_num_handlers.fetch_sub(1);
  errno = saved;
  call_earlier(signal, info, context);
}

Status begin_handling(int signal) {
  Handled& handled = g_handled[static_cast<size_t>(signal)];
  if (handled.users++ > 0) return Status();
  // The handler may run as soon as it is there.
  struct sigaction mine {};
  mine.sa_sigaction = on_signal;
  mine.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&mine.sa_mask);
  if (sigaction(signal, nullptr, &handled.earlier) == 0 && sigaction(signal, &mine, nullptr) == 0)
    return Status();
  handled.users = 0;
  return system_error("sigaction", errno);
}

// Puts back what was there, unless somebody has installed another since: that one may call ours.
void end_handling(int signal) {
  Handled& handled = g_handled[static_cast<size_t>(signal)];
  if (--handled.users > 0) return;
  struct sigaction now {};
  if (sigaction(signal, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
      now.sa_sigaction == on_signal) {
    sigaction(signal, &handled.earlier, nullptr);
  }
}

}  // namespace

std::optional<int> signal_number(const std::string& name) {
  if (name == "USR1") return SIGUSR1;
  if (name == "USR2") return SIGUSR2;
  if (name == "HUP") return SIGHUP;
  if (name == "QUIT") return SIGQUIT;
  return std::nullopt;
}

Result<std::unique_ptr<DumpOnSignal>> DumpOnSignal::install(int signal, const RecordFile& file) {
  const int parent = file.folder_fd();
  if (mkdirat(parent, kDumpFolder, 0700) != 0 && errno != EEXIST)
    return system_error(cat("making ", file.folder(), "/", kDumpFolder), errno);
  UniqueFd folder(openat(parent, kDumpFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.valid()) return system_error(cat("opening ", file.folder(), "/", kDumpFolder), errno);
  std::unique_ptr<DumpOnSignal> dump(new DumpOnSignal(signal, file, std::move(folder)));
  const std::lock_guard lock(g_mutex);
  for (size_t place = 0; place < kMostPlaces; ++place) {
    if (g_places[place].load() != nullptr) continue;
    HFR_RETURN_IF_ERROR(begin_handling(signal));
    dump->place_ = place;
    g_places[place].store(dump.get());
    return dump;
  }
  return Status(Code::kSystemError, "too many communicators for a signal");
}

DumpOnSignal::~DumpOnSignal() {
  if (place_ == SIZE_MAX) return;
  const std::lock_guard lock(g_mutex);
  g_places[place_].store(nullptr);
  while (g_num_handlers.load() != 0) sched_yield();
  end_handling(signal_);
}

void DumpOnSignal::write() const {
  const UniqueFd fd(openat(folder_.get(), file_.name().c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fd.valid()) (void)write_record(file_.record(), fd.get());
}

}  // namespace hfr
