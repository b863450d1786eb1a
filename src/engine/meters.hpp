// EngineMeters: what one rank's engine has done, and how long its chunks took in each stage
// (docs/metrics.md).
//
// Counting costs a few additions for an operation and for each stage of a chunk. Clocks are read
// only where a stage takes so long that reading them is less than a hundredth of it: for chunks and
// operations of these sizes.
//
// Threads: raised by whoever holds the engine, read by any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/meter.hpp"

namespace hfr {

constexpr size_t kTimedChunkBytes = size_t{16} << 10;
constexpr size_t kTimedCopyBytes = size_t{64} << 10;  // of the CPU's copies and blocks
constexpr size_t kTimedOperationBytes = size_t{256} << 10;

enum class Stage : uint8_t {
  kOperation,       // from its announcement to its completion; not counted here: times only
  kCopyIn,          // of this rank's copies, as kCopyOut
  kCopyOut,         //
  kAdd,             // of the lanes that this rank owns, as all below
  kDirectAdd,       // the direct path: a block of this rank's slice, with fetching and bringing it
  kSend,            // from the put to the word that its source may be used again
  kReceive,         // not timed
  kWaitInput,       // for local ranks' copies into staging
  kWaitSlot,        // for local ranks' copies of an earlier chunk out of staging
  kWaitPartialSum,  // for another node
  kWaitFinalValue,  // likewise
};
constexpr size_t kNumStages = 11;

struct EngineMeters {
  Meter bytes;                   // of the operations that were started
  std::array<Meter, 3> by_path;  // operations, by OpPath
  std::array<StageMeter, kNumStages> stages;
  Meter puts_refused;  // the transport's queue was full
  Meter sleeps;        // of whoever waits and drives

  StageMeter& of(Stage stage) { return stages[static_cast<size_t>(stage)]; }
};

}  // namespace hfr
