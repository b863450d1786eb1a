// Counts of one connection's sending side: messages, work requests, completions. Pure.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

// A work request's id: which connection, in which epoch, and, of sends, the count of requests up to
// it.
struct RequestId {
  uint32_t count = 0;
  uint16_t connection_idx = 0;
  uint16_t epoch = 0;  // mod 2^15
  bool receive = false;

  static constexpr uint16_t kEpochs = 1u << 15;

  uint64_t pack() const {
    return uint64_t{connection_idx} << 48 | uint64_t{epoch} << 33 | uint64_t{receive} << 32 | count;
  }
  static RequestId unpack(uint64_t id) {
    return {static_cast<uint32_t>(id), static_cast<uint16_t>(id >> 48),
            static_cast<uint16_t>(id >> 33 & (kEpochs - 1)), (id >> 32 & 1) != 0};
  }
};

// A count that was sent as its low 32 bits, at most 2^32 - 1 ahead of the last.
constexpr uint64_t widen(uint64_t last, uint32_t low) {
  return last + static_cast<uint32_t>(low - static_cast<uint32_t>(last));
}

// A word that a device writes.
inline uint64_t load_word(const std::byte* at) {
  auto* word = const_cast<uint64_t*>(reinterpret_cast<const uint64_t*>(at));
  return std::atomic_ref<uint64_t>(*word).load(std::memory_order_acquire);
}

// The send queue's room: requests posted and not known to be complete.
class SendQueue {
 public:
  static constexpr uint32_t kDepth = 384;
  static constexpr uint32_t kSignalEvery = 16;

  void reset() { *this = SendQueue(); }
  bool has_room(uint64_t requests) const { return posted_ - completed_ + requests <= kDepth; }
  // Counts one request; true when it must ask for a completion.
  bool post(bool wants_completion) {
    ++posted_;
    const bool signal = wants_completion || posted_ - signaled_ >= kSignalEvery;
    if (signal) signaled_ = posted_;
    return signal;
  }
  void complete(uint32_t low) { completed_ = widen(completed_, low); }
  // The last request has asked for a completion, which stands for all.
  bool ends_signaled() const { return signaled_ == posted_; }
  // A completion that was asked for is under way.
  bool awaits() const { return signaled_ != completed_; }
  uint64_t posted() const { return posted_; }
  uint64_t completed() const { return completed_; }

 private:
  uint64_t posted_ = 0;
  uint64_t signaled_ = 0;
  uint64_t completed_ = 0;
};

}  // namespace hfr::verbs
