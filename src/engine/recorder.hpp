// Recorder: writes what the engine does into a record (base/record_layout.hpp), always. So it is
// cheap: an operation costs a store when it is called and one when it has completed, and the clock
// is read only where that is little beside what is timed (docs/diagnosis.md).
//
// Threads: whoever holds the engine.
#pragma once

#include "base/record_layout.hpp"
#include "base/status.hpp"
#include "base/wait.hpp"
#include "engine/copy_watch.hpp"
#include "engine/meters.hpp"
#include "ports/clock.hpp"

namespace hfr {

// What a rank waits for, in its record: one writer at a time.
void write_wait(record::WaitCell& cell, uint64_t operation, uint64_t since_ns, uint64_t now_ns,
                const Wait& wait);

class Recorder {
 public:
  // A wait is told from then on.
  static constexpr uint64_t kLongWaitNs = 1'000'000;

  Recorder(record::File& file, const Clock& clock)
      : file_(file), clock_(clock), copies_(kWatchedCopies) {}

  void called(uint64_t number, uint64_t signature) {
    // Releasing: what is overwritten in the ring changes after the count that said so far.
    file_.calls[number % record::kNumCalls].store(signature, std::memory_order_release);
    file_.progress.called.store(number + 1, std::memory_order_release);
  }
  // Operations [0, end) have completed.
  void completed(uint64_t end) { file_.progress.completed.store(end, std::memory_order_release); }

  uint64_t now_ns() const { return clock_.now_ns(); }

  struct Timed {
    record::SpanStage stage;
    int rank;
    uint64_t operation;
    uint64_t chunk;
    uint64_t bytes;
  };
  void span(const Timed& timed, uint64_t begin_ns, uint64_t end_ns);
  // Ends now; returns that.
  uint64_t span_until_now(const Timed& timed, uint64_t begin_ns) {
    const uint64_t now = now_ns();
    span(timed, begin_ns, now);
    return now;
  }

  // A copy of an operation was queued.
  void watch(CopyDirection direction, const CopyDescriptor& copy) {
    if (copy.bytes >= kTimedChunkBytes) copies_.watch(direction, copy);
  }
  // Once a turn.
  void look();

  // What the oldest operation waits for, or, with WaitStage::kNothing, no longer does.
  void waits(uint64_t operation, uint64_t since_ns, uint64_t now_ns, const Wait& wait) {
    write_wait(file_.wait, operation, since_ns, now_ns, wait);
  }

  // The first one stays.
  void failed(const Failure& failure);
  // After a failure.
  void destroyed();

 private:
  static constexpr size_t kWatchedCopies = 128;

  record::File& file_;
  const Clock& clock_;
  CopyWatch copies_;
  uint64_t num_spans_ = 0;
};

}  // namespace hfr
