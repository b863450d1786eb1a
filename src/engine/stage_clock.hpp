// StageClock: times the stages of a lane's present chunk. Meters, recorder and trace share each
// reading of the clock, and a profiler's range goes along with each add. Of a chunk too small to be
// timed (kTimedChunkBytes) waits, adds and puts are counted and no clock is read.
//
//   begin          end_wait         end_add            end_wait
//     |---- wait ----|--- add ----------|---- wait ------|     laps: each begins where one ends
//                         begin_put |------- send -------| end_put
//
// Threads: whoever holds the engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/context.hpp"
#include "engine/meters.hpp"

namespace hfr {

class StageClock {
 public:
  // What a step waits for. kPuts: earlier puts, which have times of their own.
  enum class Awaited : uint8_t { kNothing, kInput, kSlot, kPartialSum, kFinalValue, kPuts };

  StageClock(EngineContext& context, EngineMeters& meters) : context_(&context), meters_(&meters) {}

  void begin(uint64_t operation, uint64_t chunk, size_t bytes) {
    operation_ = operation;
    chunk_ = chunk;
    bytes_ = bytes;
    timed_ = bytes >= kTimedChunkBytes || context_->trace != nullptr;
    if (timed_) lap_began_ns_ = context_->clock.now_ns();
  }

  void await(Awaited what) { awaited_ = what; }
  Awaited awaited() const { return awaited_; }
  // What the step needs is here, `stage` is over; `rank` was waited for last.
  void end_wait(record::SpanStage stage, int rank) {
    const Awaited what = std::exchange(awaited_, Awaited::kNothing);
    const uint64_t ns = timed_ ? lap(stage, rank) : 0;
    if (what == Awaited::kNothing || what == Awaited::kPuts) return;
    meters_->of(stage_of(what)).count(0);
    if (timed_) end_timed_wait(what, ns);
  }

  void begin_add() {
    if (context_->trace != nullptr) add_began_ns_ = context_->trace->now_ns();
    if (context_->ranges != nullptr)
      add_range_ = context_->ranges->begin(Ranges::Kind::kAdd, bytes_);
  }
  // Nobody took it.
  void give_up_add() {
    if (add_range_ != 0) context_->ranges->end(std::exchange(add_range_, 0));
  }
  void end_add() {
    give_up_add();
    meters_->of(Stage::kAdd).count(bytes_);
    if (timed_) end_timed_add();
  }

  // When it began; 0: it is not timed.
  uint64_t begin_put() {
    meters_->of(Stage::kSend).count(bytes_);
    return timed_ ? context_->clock.now_ns() : 0;
  }
  void end_put(int peer, uint64_t began_ns);

 private:
  static Stage stage_of(Awaited what);
  // Ends the chunk's present stage; how long it took. Only of chunks that are timed, as all below.
  uint64_t lap(record::SpanStage stage, int rank);
  void end_timed_wait(Awaited what, uint64_t ns);
  void end_timed_add();

  EngineContext* context_;
  EngineMeters* meters_;
  uint64_t operation_ = 0;
  uint64_t chunk_ = 0;
  size_t bytes_ = 0;
  bool timed_ = false;  // the chunk is so large, or there is a trace
  Awaited awaited_ = Awaited::kNothing;
  uint64_t lap_began_ns_ = 0;
  uint64_t add_began_ns_ = 0;  // with a trace
  uint64_t add_range_ = 0;     // a profiler's
};

inline Stage StageClock::stage_of(Awaited what) {
  switch (what) {
    case Awaited::kInput:
      return Stage::kWaitInput;
    case Awaited::kSlot:
      return Stage::kWaitSlot;
    case Awaited::kPartialSum:
      return Stage::kWaitPartialSum;
    default:
      return Stage::kWaitFinalValue;
  }
}

}  // namespace hfr
