// Cancelling a set-up that blocks on another thread.
//
// The thread that sets up installs a flag with CancelScope; the blocking calls of net.hpp look at
// their thread's flag several times a second and end with Code::kAborted once it is set.
#pragma once

#include <atomic>

namespace hfr {

class CancelFlag {
 public:
  // Set when `parent`, which may be null, is; it outlives this.
  explicit CancelFlag(const CancelFlag* parent = nullptr) : parent_(parent) {}
  virtual ~CancelFlag() = default;
  CancelFlag(const CancelFlag&) = delete;
  CancelFlag& operator=(const CancelFlag&) = delete;

  void set() { set_.store(true, std::memory_order_release); }
  // Any thread.
  virtual bool is_set() const {
    return set_.load(std::memory_order_acquire) || (parent_ != nullptr && parent_->is_set());
  }

 private:
  std::atomic<bool> set_{false};
  const CancelFlag* const parent_;
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
  // That flag, to install it in threads that help; null when there is none.
  static const CancelFlag* current();

 private:
  const CancelFlag* previous_;
};

}  // namespace hfr
