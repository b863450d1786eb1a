// Trace: when a rank's chunks went through which stage, for HFREDUCE_TRACE. Without it there is no
// Trace, and each place that would tell it something tests one pointer.
//
// Keeps the latest kCapacity spans. They are read from the counters that the engine works with, as
// often as it takes a turn: a time is as exact as the turns are short.
//
// Threads: whoever holds the engine.
#pragma once

#include <string>
#include <vector>

#include "engine/copy_watch.hpp"
#include "ports/clock.hpp"
#include "ports/device.hpp"

namespace hfr {

// Copies in the order of CopyDirection, then what the CPU does, the network, and waits of this
// rank's lanes.
enum class TraceStage : uint8_t {
  kCopyIn,
  kCopyOut,
  kPush,
  kGroupAdd,
  kPull,
  kAdd,
  kSend,
  kWaitInput,
  kWaitSlot,
  kWaitPartialSum,
  kWaitFinalValue,
};
constexpr size_t kNumTraceStages = 11;

// What the times of a trace are told by: machines with the same name have the same clock.
struct TraceClock {
  std::string machine;
  int64_t to_realtime_ns = 0;  // added to a time: since 1970
};

class Trace {
 public:
  static constexpr size_t kCapacity = size_t{1} << 16;
  static constexpr size_t kWatched = 4096;  // copies in a direction; more are left out

  explicit Trace(const Clock& clock) : clock_(clock), spans_(kCapacity), copies_(kWatched) {}

  // The copy was queued.
  void watch(CopyDirection direction, const CopyDescriptor& copy) {
    copies_.watch(direction, copy);
  }
  // Once a turn.
  void look();

  uint64_t now_ns() const { return clock_.now_ns(); }
  void record(TraceStage stage, uint64_t chunk, size_t bytes, uint64_t begin_ns, uint64_t end_ns) {
    spans_[num_spans_++ % kCapacity] = {chunk, bytes, begin_ns, end_ns, stage};
  }

  // A JSON array of Chrome's trace events; `rank` is the process, stages are its threads.
  std::string text(int rank, const std::string& name, const TraceClock& clock) const;

 private:
  struct Span {
    uint64_t chunk;
    size_t bytes;
    uint64_t begin_ns;
    uint64_t end_ns;
    TraceStage stage;
  };
  const Clock& clock_;
  std::vector<Span> spans_;
  uint64_t num_spans_ = 0;
  CopyWatch copies_;
};

}  // namespace hfr
