// Lane: walks the schedule of one chunk after the other for a lane that this rank owns.
//
// Landings of lane l, numbered the same on every node:
//   l * landings_per_lane + 0              result: the final value, from the parent
//                         + 1 + i          child i's partial sum
//                         + 3 + 2 r + c    butterfly round r, copy c: by turns, chunk after chunk
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/wait.hpp"
#include "engine/context.hpp"
#include "engine/meters.hpp"
#include "engine/operation.hpp"
#include "engine/stage_clock.hpp"

namespace hfr {

// The latest chunk that arrived in each landing, and what its sender took the operation for.
struct Arrivals {
  std::vector<uint64_t> chunk_plus_one;
  std::vector<uint64_t> signature;
  std::vector<uint32_t> checksum;
  std::vector<int> peer;
};

int landings_per_lane(int num_rounds);

class Executor;

class Lane {
 public:
  Lane(EngineContext& context, Arrivals& arrivals, EngineMeters& meters, int idx);

  // Does all that can be done now. True when something moved. Reports a failure to `executor`.
  bool advance(Executor& executor);

  void add_finished() { add_ = AddState::kFinished; }
  void put_finished(int peer);

  // The chunk that is next, or under way.
  uint64_t chunk() const { return chunk_; }
  int idx() const { return idx_; }
  // Whose put the present step was found to wait for; Transport::kNobody: it waits for none.
  int awaited_peer() const {
    const Awaited what = stages_.awaited();
    const bool afar = what == Awaited::kPartialSum || what == Awaited::kFinalValue;
    return afar ? waited_for_ : Transport::kNobody;
  }
  // What it waits for; rank -1 when it waits for nothing outside this rank.
  Wait waits_for(const Operation& op) const;

 private:
  enum class AddState : uint8_t { kNone, kUnderWay, kFinished };
  using Awaited = StageClock::Awaited;
  struct PendingPut {
    int peer;
    uint64_t began_ns;  // StageClock's
  };

  void begin(Operation& op);
  const Schedule& schedule(const Operation& op) const;
  bool run(const Step& step, Operation& op, Executor& executor);
  bool run_add(const Step& step, Operation& op, Executor& executor);
  // Checks, where they are asked for: what the step adds came as it was sent, and so did what is
  // received; the owner's own copy of the final value is the same. False: the failure is reported.
  bool check_sources(const Step& step, const Operation& op, Executor& executor);
  bool check_input(const Operation& op, int local_rank, Executor& executor);
  bool check_arrival(SlotRef slot, const std::byte* bytes, const Operation& op, Executor& executor);
  bool check_own_result(const Step& step, const Operation& op, Executor& executor);
  // Of the chunk's sum so far.
  uint32_t value_checksum(const Operation& op);
  // Nothing: all that the step adds is here, and its result may be written.
  Awaited awaited_by_add(const Step& step, const Operation& op);
  // Notes what the step waits for; false.
  bool await(Awaited what) {
    stages_.await(what);
    return false;
  }
  // The only input of a step that would add nothing to it; null: there is something to do.
  const std::byte* sole_input(const Step& step, const Operation& op) const;
  // Adds, or hands the add to the pool; false when that takes no more.
  bool begin_add(const Step& step, const Operation& op);
  // One of each group stands for the group.
  bool brings_input(const Operation& op, int local_rank) const;
  const std::byte* input(const Operation& op, int local_rank) const;
  bool run_put(const Step& step, Operation& op);
  // Some step after the current one is a put.
  bool puts_follow(const Operation& op) const;
  // What is here for the chunk was sent for the very same operation; else reports the mismatch.
  bool check_arrivals(const Operation& op, Executor& executor);
  bool has_arrived(SlotRef slot) const;
  // A local rank whose input is not here yet; -1: all are. A group's carrier, which has to wait for
  // the others of its group, only where there is no other.
  int missing_input(const Operation& op) const;
  // A local rank that is still to copy out of it; -1: it is free.
  int who_holds_result_slot() const;
  // A local rank that does not have the results of the lane's chunks before `end`; -1: all have.
  int not_drained(uint64_t end) const;
  // Of an operation that stays inside a group.
  Wait waits_inside(const Operation& op) const;
  // The chunk is finished without this lane: it stayed inside a group, or is empty.
  void pass_over(Operation& op);
  // The input slots may take the lane's next chunk.
  void free_inputs();
  uint32_t landing(SlotRef slot) const;
  const std::byte* source(SlotRef slot) const;

  EngineContext* context_;
  Arrivals* arrivals_;
  EngineMeters* meters_;
  int idx_;
  uint32_t first_landing_;
  uint64_t chunk_;
  uint64_t op_cursor_ = 0;    // where find_chunk goes on
  uint64_t num_carried_ = 0;  // chunks that are finished, without the empty ones
  bool begun_ = false;
  size_t step_ = 0;
  AddState add_ = AddState::kNone;
  StageClock stages_;
  std::vector<PendingPut> puts_pending_;    // in order; has room for all of a schedule
  int waited_for_ = -1;                     // the rank
  bool inputs_here_ = false;                // of the present add
  const std::byte* value_ = nullptr;        // the chunk's sum so far
  std::optional<uint32_t> value_checksum_;  // once it was needed
  bool sources_checked_ = false;            // of the step that is next
  bool inputs_free_ = true;                 // false: the value may lie in an input slot
  std::byte* result_ = nullptr;             // where sums and the final value go
  std::byte* copy_to_ = nullptr;  // where the final value is copied from there; null: nowhere
};

}  // namespace hfr
