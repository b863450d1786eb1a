// How a rank ended: its failures, in the library's words, and the one line that it prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"
#include "plan.hpp"

namespace hfr_tests {

// Printed by a rank that cannot do its own work, without the library's doing.
[[noreturn]] void give_up(const char* why);

class Outcome {
 public:
  // The first failure since the last recovery is kept, and the last one.
  void fail(hfr_status_t status, const char* where, const char* sentence);
  bool check(hfr_status_t status, const char* where, hfr_comm_t comm) {
    if (status != HFR_SUCCESS) fail(status, where, hfr_get_last_error(comm));
    return status == HFR_SUCCESS;
  }
  // It went on after them.
  void forgive();
  bool well() const { return failure_ == HFR_SUCCESS; }
  void wrong(const Step& step, const char* what, size_t element, const std::vector<int>& members);

  // The line, for Counts that the rank has kept. `left`: what it still holds.
  struct Counts {
    uint64_t steps = 0;
    int shrinks = 0;
    int growths = 0;
    int suspends = 0;
    uint64_t since_ns = 0;  // the last communicator was made
    uint64_t until_ns = 0;  // its last sum
    int64_t latest_ms = 0;
    bool limited = false;
  };
  void print(const Counts& counts, const std::vector<int>& members, const std::string& left) const;

 private:
  // Fixed: there may be no memory.
  hfr_status_t failure_ = HFR_SUCCESS;
  bool wrong_ = false;
  char where_[64] = "";
  char sentence_[2048] = "";
  char then_[2048] = "";
  char nameless_[80] = "";  // where a failure had no sentence
  int failures_ = 0;
};

}  // namespace hfr_tests
