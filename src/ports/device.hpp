// Device: where one rank's buffers live, seen as in-order copy queues, one for each direction.
//
// A copy waits for a counter, moves bytes, then advances another counter. Staging and its counters
// are in the node's shared segment, so the queues of different ranks meet only in counters. On CUDA
// the copy engine advances the counter itself (docs/cuda.md).
//
// Threads: one thread at a time (the executor's), but for UserSide's, which say otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/counter.hpp"
#include "base/status.hpp"
#include "base/types.hpp"

namespace hfr {

enum class CopyDirection : uint8_t {
  kIn,   // device to staging
  kOut,  // staging to device
  // In a group of GPUs (engine/group.hpp):
  kPush,  // own input to the carrier's inbox
  kAdd,   // the one that is no copy: own input, and the others' from `dst` on, added into `dst`
  kPull,  // the carrier's outbox to own result
};
constexpr size_t kNumDirections = 5;
constexpr std::array<CopyDirection, kNumDirections> kAllDirections = {
    CopyDirection::kIn, CopyDirection::kOut, CopyDirection::kPush, CopyDirection::kAdd,
    CopyDirection::kPull};

struct CopyDescriptor {
  void* dst = nullptr;
  const void* src = nullptr;
  size_t bytes = 0;
  const Counter* wait = nullptr;  // copy once wait->load() >= wait_value; null: at once
  uint64_t wait_value = 0;
  // Counters, which outlive the copy, that must have come to wait_value as well.
  std::span<const Counter* const> wait_also;
  Counter* signal = nullptr;  // then signal->store(signal_value)
  uint64_t signal_value = 0;
  bool streaming = false;         // store past the caches: nobody reads dst soon
  DType dtype = DType::kFloat32;  // kAdd only, as is:
  Op op = Op::kSum;
  int divisor = 1;

  bool may_go() const {
    if (wait != nullptr && wait->load() < wait_value) return false;
    for (const Counter* counter : wait_also) {
      if (counter->load() < wait_value) return false;
    }
    return true;
  }
};

// What the caller's own buffers and streams need of a device that the CPU cannot reach into.
// Operation numbers are the executor's; at most kMaxOpen are open at a time.
class UserSide {
 public:
  static constexpr uint64_t kMaxOpen = 256;
  virtual ~UserSide() = default;

  // The caller's threads. The sentences of failures have no subject: "<what> is in host memory".
  virtual Status check_buffer(const void* buffer, size_t bytes) = 0;
  virtual Status check_stream(void* stream) = 0;
  virtual Result<void*> allocate(size_t bytes) = 0;  // zeroed
  virtual Status free(void* ptr) = 0;
  // The input of `op` is there when the stream's earlier entries have finished: input_ready(op).
  virtual Status mark_input(void* stream, uint64_t op) = 0;

  // Early copies: all of an operation, by the caller's thread, which holds the engine.
  virtual bool takes_early() const = 0;
  virtual size_t most_early() const = 0;  // copies in a direction that are open together
  // Whether so many more can be taken in each direction now: nothing before them is still to be
  // issued.
  virtual bool can_enqueue(size_t copies) const = 0;
  virtual void submit_early(CopyDirection direction, const CopyDescriptor& copy) = 0;
  // Then, without the engine: hands what was submitted for the operation's `chunks` to the device,
  // behind the stream's earlier entries and before its later ones. In the order of chunks (a copy's
  // signal value says which), but what brings a chunk back (kOut, kPull) after what takes the one
  // `window` later there (kPush, kAdd, kIn). May block as the device's own queues do. From then on
  // poll() calls no driver.
  virtual Status hand_over(void* stream, uint64_t op, size_t chunks, size_t window) = 0;

  // The executor's thread.
  virtual bool input_ready(uint64_t op) = 0;
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

  // A copy was refused: health() says why.
  virtual bool failed() const { return false; }
  // Asks the device whether it still works. For long waits only. `at_any_price`: even where asking
  // may wait for another thread's call.
  virtual Status health([[maybe_unused]] bool at_any_price) { return Status(); }

  // Null where the CPU reaches buffers itself.
  virtual UserSide* user_side() { return nullptr; }
};

}  // namespace hfr
