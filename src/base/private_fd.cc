#include "base/private_fd.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <mutex>
#include <set>

namespace hfr {
namespace {

// This process's. Never destroyed: descriptors may be closed while the process ends.
struct Registry {
  std::mutex mutex;
  std::set<int> fds;
};
Registry& registry() {
  static auto* const all = new Registry;
  return *all;
}

void before_fork() { registry().mutex.lock(); }
void after_fork() { registry().mutex.unlock(); }
void in_child() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd : registry().fds) {
    if (null < 0 || dup3(null, fd, O_CLOEXEC) < 0) close(fd);
  }
  if (null >= 0) close(null);
  after_fork();
}

}  // namespace

PrivateFd::PrivateFd(UniqueFd fd) {
  if (!fd.valid()) return;
  [[maybe_unused]] static const int handles_forks =
      pthread_atfork(before_fork, after_fork, in_child);
  const std::lock_guard lock(registry().mutex);
  registry().fds.insert(fd.get());
  fd_ = fd.release();
}

void PrivateFd::reset() {
  if (fd_ < 0) return;
  const std::lock_guard lock(registry().mutex);
  registry().fds.erase(fd_);
  close(std::exchange(fd_, -1));
}

}  // namespace hfr
