// Connection: what the two ends of a loopback pair share. No end ever blocks the other, except that
// closing waits for a copy that is under way.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "base/counter.hpp"
#include "ports/transport.hpp"

namespace hfr::loopback {

// Wakes a transport that sleeps. Any thread.
class Doorbell {
 public:
  void ring();
  // Returns when it rings, when `has_work` says so, or after `timeout_ns`.
  void sleep(uint64_t timeout_ns, const std::function<bool()>& has_work);

 private:
  std::atomic<bool> asleep_{false};
  bool rung_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Puts of one side on their way to the other: a ring with one writer and one reader.
struct Direction {
  static constexpr uint64_t kDepth = 64;
  static constexpr size_t kInlineBytes = 256;
  struct Entry {
    PutTag tag;
    uint64_t bytes = 0;
    const std::byte* src = nullptr;  // null: the bytes are in here
    std::array<std::byte, kInlineBytes> inline_payload;
  };

  Counter queued;  // by the sender
  Counter taken;   // by the receiver
  std::array<Entry, kDepth> entries;
};

struct Side {
  std::shared_ptr<Doorbell> doorbell;  // written once, before the two have met
  Direction sends;
  std::atomic<bool> copying{false};  // this side reads the other's memory
  std::atomic<bool> closed{false};
};

struct Connection {
  std::array<Side, 2> side;

  // Raises `copying` of side `s`; false, and not raised, when the other side has closed.
  bool begin_copy(int s);
  void end_copy(int s) { side[s].copying.store(false, std::memory_order_seq_cst); }
  // Side `s` is gone; when this returns nobody reads its memory.
  void close(int s);
};

}  // namespace hfr::loopback
