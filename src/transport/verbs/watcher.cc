#include "transport/verbs/watcher.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace hfr::verbs {
namespace {

// One report, until it is armed again: what stays readable does not keep the thread busy.
constexpr uint32_t kEvents = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;

Status control(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll, operation, fd, &event) != 0)
    return system_error("watching a descriptor", errno);
  return Status();
}

}  // namespace

Watcher::~Watcher() { stop(); }

Status Watcher::start(std::vector<int> fds) {
  fds_ = std::move(fds);
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_.valid() || !wake_.valid()) return system_error("watching descriptors", errno);
  HFR_RETURN_IF_ERROR(control(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), EPOLLIN));
  for (int fd : fds_) HFR_RETURN_IF_ERROR(control(epoll_.get(), EPOLL_CTL_ADD, fd, kEvents));
  thread_ = std::thread([this] { run(); });
  return Status();
}

void Watcher::stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

void Watcher::rearm() {
  raised_.store(false, std::memory_order_release);
  for (int fd : fds_) {
    const Status status = control(epoll_.get(), EPOLL_CTL_MOD, fd, kEvents);
    (void)status;  // one that was closed needs no watching
  }
}

void Watcher::run() {
  while (true) {
    epoll_event event;
    if (epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;
    if (event.data.fd == wake_.get()) return;
    raised_.store(true, std::memory_order_release);
  }
}

}  // namespace hfr::verbs
