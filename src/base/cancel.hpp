// Cancelling a set-up that blocks on another thread.
//
// The thread that sets up installs a flag with CancelScope; the blocking calls of net.hpp look at
// their thread's flag several times a second and end with Code::kAborted once it is set.
#pragma once

#include <atomic>

namespace hfr {

class CancelFlag {
 public:
  void set() { set_.store(true, std::memory_order_release); }
  bool is_set() const { return set_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> set_{false};
};

class CancelScope {
 public:
  // `flag` may be null; it outlives the scope.
  explicit CancelScope(const CancelFlag* flag);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

  // The calling thread's flag is set.
  static bool cancelled();

 private:
  const CancelFlag* previous_;
};

}  // namespace hfr
