// Device: where one rank's buffers live, seen as two in-order copy queues.
//
// A copy waits for a counter, moves bytes, then advances another counter, with no host thread
// between two copies where the hardware can do that (CUDA stream memory operations). Staging and
// its counters are in the node's shared segment, so the queues of different ranks meet only in
// counters.
//
// Threads: one thread at a time (the executor's).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/counter.hpp"

namespace hfr {

enum class CopyDirection : uint8_t { kIn, kOut };  // device to staging; staging to device

struct CopyDescriptor {
  void* dst = nullptr;
  const void* src = nullptr;
  size_t bytes = 0;
  const Counter* wait = nullptr;  // copy once wait->load() >= wait_value; null: at once
  uint64_t wait_value = 0;
  Counter* signal = nullptr;  // then signal->store(signal_value)
  uint64_t signal_value = 0;
  bool streaming = false;  // store past the caches: nobody reads dst soon
};

class Device {
 public:
  virtual ~Device() = default;

  // The CPU can read and write the rank's buffers in place: the owner then needs no copies of its
  // own.
  virtual bool host_accessible() const = 0;

  // Appends to the direction's queue. False when the queue is full: poll and try again.
  virtual bool submit(CopyDirection direction, const CopyDescriptor& copy) = 0;

  // Moves the queues on. Returns true when something was done. Never blocks.
  virtual bool poll() = 0;

  // Forgets what is queued (after a failure). Copies under way finish first.
  virtual void cancel() = 0;
};

}  // namespace hfr
