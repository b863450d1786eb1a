// Device: where one rank's buffers live, seen as in-order copy queues, one for each direction.
//
// A copy waits for a counter, moves bytes, then advances another counter. Staging and its counters
// are in the node's shared segment, so the queues of different ranks meet only in counters. On CUDA
// the copy engine advances the counter itself (docs/cuda.md).
//
// Threads: one thread at a time (the executor's), but for UserSide's, which say otherwise.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/counter.hpp"
#include "base/meter.hpp"
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
// The way of a chunk to staging, and from there to the result.
constexpr std::array<CopyDirection, 3> kWayThere = {CopyDirection::kPush, CopyDirection::kAdd,
                                                    CopyDirection::kIn};
constexpr std::array<CopyDirection, 2> kWayBack = {CopyDirection::kOut, CopyDirection::kPull};

// Keeps ranks that share something in step: all counters, which outlive it, must have come to
// `value`. With none it is open.
struct StepGate {
  std::span<const Counter* const> counters;
  uint64_t value = 0;

  bool is_open() const {
    for (const Counter* counter : counters) {
      if (counter->load() < value) return false;
    }
    return true;
  }
};

struct CopyDescriptor {
  void* dst = nullptr;
  const void* src = nullptr;
  size_t bytes = 0;
  const Counter* wait = nullptr;  // copy once wait->load() >= wait_value; null: at once
  uint64_t wait_value = 0;
  // Counters, which outlive the copy, that must have come to wait_value as well.
  std::span<const Counter* const> wait_also;
  StepGate step;
  bool more = false;          // the next copy may be handed to the device together with this one
  Counter* signal = nullptr;  // then signal->store(signal_value)
  uint64_t signal_value = 0;
  bool streaming = false;  // store past the caches: nobody reads dst soon
  // Where the CPU copies. Before the signal, src's checksum is left in the one, or dst's is
  // compared with the one: words of signal_value (ports/checksum.hpp).
  Counter* leave_checksum = nullptr;
  const Counter* expect_checksum = nullptr;
  DType dtype = DType::kFloat32;  // kAdd only, as is:
  Op op = Op::kSum;
  int divisor = 1;

  // Once so, always so.
  bool may_go() const {
    if (wait != nullptr && wait->load() < wait_value) return false;
    for (const Counter* counter : wait_also) {
      if (counter->load() < wait_value) return false;
    }
    return step.is_open();
  }
};

// Two words, each 0 or 1, between the engine and a copy that the device was given ahead of time.
struct Gate {
  std::atomic<uint64_t> go{0};    // engine: 1. The device waits for that and copies. In graphs it
                                  // clears it, else whoever takes `done` does
  std::atomic<uint64_t> done{0};  // device: 1, it has copied. The engine clears it

  void open() { go.store(1, std::memory_order_release); }
  // Whether the copy is done; says so once.
  bool take() {
    if (done.load(std::memory_order_acquire) == 0) return false;
    done.store(0, std::memory_order_relaxed);
    return true;
  }
};

// Host memory through which a small message of a GPU travels: the engine treats the operation as
// one on host memory, in place.
struct Bounce {
  std::byte* data = nullptr;
  Gate* in = nullptr;   // its `go` is not used: nothing has to be waited for
  Gate* out = nullptr;  // opened when the result is there
};

// An operation whose copies stand in a graph, which may run again and again: all in it is constant,
// so each copy has a gate of its own.
struct GraphCopies {
  Gate* start = nullptr;  // `done`: the graph has come to the operation
  Bounce bounce;          // of a small message; data null: chunks go through staging
  std::span<Gate> in;     // of each chunk
  std::span<Gate> out;

  // After a failure: whatever waits goes on.
  void open_all() {
    if (bounce.out != nullptr) bounce.out->open();
    for (Gate& gate : in) gate.open();
    for (Gate& gate : out) gate.open();
  }
};

// What a graph gets to hold.
struct GraphRequest {
  const GraphCopies* copies = nullptr;
  const void* send = nullptr;  // of a small message
  void* recv = nullptr;
  size_t bytes = 0;
  std::vector<CopyDescriptor> in;  // else: what is copied, a chunk each
  std::vector<CopyDescriptor> out;
  std::shared_ptr<void> owner;  // let go when the last graph with this operation is gone
};

// Graphs of a device. The caller's threads; nothing here needs the engine.
class GraphSide {
 public:
  virtual ~GraphSide() = default;
  // For a small message of so many bytes, or for so many chunks. Freed ones are used again.
  virtual Result<GraphCopies*> make_copies(bool bounced, size_t bytes, size_t num_chunks) = 0;
  virtual void free_copies(GraphCopies* copies) = 0;
  // Whether calls in `stream` become parts of a graph.
  virtual Result<bool> is_capturing(void* stream) = 0;
  // Puts the operation into the graph that the stream is captured into. On failure the capture is
  // as before.
  virtual Status capture(void* stream, const GraphRequest& request) = 0;
  // A graph of this operation alone, for as long as the result is held.
  virtual Result<std::shared_ptr<void>> make_graph(const GraphRequest& request) = 0;
  virtual Status launch(void* graph, void* stream) = 0;
};

// What the caller's own buffers and streams need of a device that the CPU cannot reach into.
// Operation numbers are the executor's; at most kMaxOpen are open at a time.
class UserSide {
 public:
  static constexpr uint64_t kMaxOpen = 256;
  virtual ~UserSide() = default;

  // The caller's threads. The sentences of failures have no subject: "<what> is in host memory".
  virtual Status check_buffer(const void* buffer, size_t bytes) = 0;
  // Whether operations can be put into the stream: it is of this device. Where graphs() is null it
  // must not be captured either.
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
  // Without the engine, and it may block as the device's own queues do: the copies to come go
  // behind the stream's earlier entries; what was submitted in a direction for the operation's
  // chunk `idx`, if anything, is handed to the device, in any thread; the stream's later entries go
  // behind all of them. The ways of a chunk in their order, and its way back before the way there
  // of the one `window` later. From then on poll() calls no driver.
  virtual Status begin_hand_over(void* stream, uint64_t op) = 0;
  virtual Status hand_over_chunk(CopyDirection direction, size_t idx) = 0;
  virtual Status end_hand_over(void* stream) = 0;
  // For ranks that share streams, by the thread that hands over the chunks of all of them: before
  // the first chunk, and after each direction of a chunk.
  virtual Status begin_chunks() = 0;
  virtual Status end_step(CopyDirection direction) = 0;

  // Small messages. Null when all are in use; freed when its operation has completed. The
  // executor's thread.
  virtual Bounce* take_bounce() = 0;
  virtual void free_bounce(Bounce* bounce) = 0;
  // The caller's thread: the input is on its way, behind the stream's earlier entries (stream null:
  // at once); bounce_came() tells. `recv` is where the result will go.
  virtual Status bounce_in(void* stream, Bounce& bounce, const void* send, void* recv,
                           size_t bytes) = 0;
  // The way back. `gated`: by the caller's thread after bounce_in, once takes_early(); it stands in
  // the stream until bounce_go(). Else by the executor's thread, at once.
  virtual Status bounce_out(void* stream, Bounce& bounce, bool gated) = 0;
  // The executor's thread, once the result is there; maybe before the caller has come to
  // bounce_out.
  virtual Status bounce_go(Bounce& bounce) = 0;
  // The executor's thread. Each says so once.
  virtual Result<bool> bounce_came(Bounce& bounce) = 0;
  virtual bool bounce_left(Bounce& bounce) = 0;

  // The executor's thread.
  virtual bool input_ready(uint64_t op) = 0;

  // Null where operations cannot stand in a graph.
  virtual GraphSide* graphs() { return nullptr; }
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

  // A copy whose checksum was not the expected one; null: none. It has not signalled, and no copy
  // goes after it.
  struct CorruptedCopy {
    CopyDescriptor copy;
    uint32_t found = 0;
  };
  virtual const CorruptedCopy* corrupted() const { return nullptr; }

  // A copy was refused: health() says why.
  virtual bool failed() const { return false; }
  // Asks the device whether it still works. For long waits only. `at_any_price`: even where asking
  // may wait for another thread's call.
  virtual Status health([[maybe_unused]] bool at_any_price) { return Status(); }

  // From now on copies of `least_bytes` or more note how long they take, where the device itself
  // can tell. The meters outlive it.
  virtual void time_copies([[maybe_unused]] StageMeter& in, [[maybe_unused]] StageMeter& out,
                           [[maybe_unused]] size_t least_bytes) {}

  // Null where the CPU reaches buffers itself.
  virtual UserSide* user_side() { return nullptr; }
};

}  // namespace hfr
