// Watcher: a thread that raises a flag when one of some descriptors becomes readable, so that the
// datapath learns of rare events without asking the kernel.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "base/net.hpp"
#include "base/status.hpp"

namespace hfr::verbs {

class Watcher {
 public:
  Watcher() = default;
  ~Watcher();

  // Once. The descriptors stay open until stop().
  Status start(std::vector<int> fds);
  void stop();
  bool raised() const { return raised_.load(std::memory_order_acquire); }
  // Lowers the flag and watches again: what is readable still, or becomes so, raises it again.
  void rearm();

 private:
  void run();

  UniqueFd epoll_;
  UniqueFd wake_;
  std::vector<int> fds_;
  std::atomic<bool> raised_{false};
  std::thread thread_;
};

}  // namespace hfr::verbs
