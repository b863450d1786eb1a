#include "transport/loopback/connection.hpp"

#include <sched.h>

#include <chrono>

namespace hfr::loopback {

void Doorbell::ring() {
  if (!asleep_.load(std::memory_order_seq_cst)) return;
  std::lock_guard lock(mutex_);
  rung_ = true;
  changed_.notify_one();
}

void Doorbell::sleep(uint64_t timeout_ns, const std::function<bool()>& has_work) {
  asleep_.store(true, std::memory_order_seq_cst);
  // Whoever made work before it could see `asleep_` is seen here.
  if (!has_work()) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] { return rung_; });
    rung_ = false;
  }
  asleep_.store(false, std::memory_order_seq_cst);
}

bool Connection::begin_copy(int s) {
  side[s].copying.store(true, std::memory_order_seq_cst);
  if (!side[1 - s].closed.load(std::memory_order_seq_cst)) return true;
  end_copy(s);
  return false;
}

void Connection::close(int s) {
  side[s].closed.store(true, std::memory_order_seq_cst);
  while (side[1 - s].copying.load(std::memory_order_seq_cst)) sched_yield();
  side[1 - s].doorbell->ring();
}

}  // namespace hfr::loopback
