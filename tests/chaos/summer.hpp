// One step's sums: fills buffers, reduces them in the step's way, and compares every element with
// what the members gave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "elements.hpp"
#include "hfreduce/hfreduce.h"
#include "outcome.hpp"
#include "plan.hpp"
#include "watch.hpp"

namespace hfr_tests {

class Summer {
 public:
  Summer(const Plan& plan, Watch& watch, Outcome& outcome, int rank, bool on_heap);
  // Its stream is gone then. No communicator may be left.
  void end();

  // Buffers of `comm`, where they are to be the library's. A rank that gets none calls everything
  // off. False: it failed.
  bool take_memory(hfr_comm_t comm);
  bool give_memory_back(hfr_comm_t comm);

  enum class Result { kRight, kFailed, kWrong };
  // `wish`: to end after this step; *wished: whether anybody did. `spoil`: as if the library had
  // been wrong.
  Result sum(const Step& step, hfr_comm_t comm, const std::vector<int>& members, bool wish,
             bool* wished, bool spoil = false);

 private:
  struct Buffer {
    std::byte* own = nullptr;   // with guards around it
    std::byte* data = nullptr;  // own, or the communicator's
  };

  size_t buffer_bytes() const { return plan_.slot_bytes() * kMostInFlight; }
  // At the end of its slot, so that a byte too many is seen.
  std::byte* at(const Buffer& buffer, size_t operation, const Step& step) const {
    return buffer.data + (operation + 1) * plan_.slot_bytes() - step.count * step.type.bytes;
  }
  void use_own();
  void fill_all(const Step& step, bool wish);
  bool operate(const Step& step, hfr_comm_t comm);
  // False: the outcome says what is wrong.
  bool compare(const Step& step, const std::vector<int>& members, bool* wished);

  const Plan& plan_;
  Watch& watch_;
  Outcome& outcome_;
  const int rank_;
  const bool on_heap_;
  Buffer send_, recv_;
  hfr_stream_t stream_ = nullptr;
};

}  // namespace hfr_tests
