// One rank of a trial: a process that joins, trains and ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "hfreduce/hfreduce.h"
#include "outcome.hpp"
#include "page.hpp"
#include "plan.hpp"
#include "process.hpp"
#include "summer.hpp"
#include "watch.hpp"

namespace hfr_tests {

class Rank {
 public:
  explicit Rank(const Arguments& arguments);
  int run();

 private:
  // ---- a life: from set-up to tear-down (rank.cc)

  bool is_new() const { return rank_ >= num_first_; }
  void live();
  void live_as_new();
  bool join(const hfr_unique_id_t* id, int num_ranks, int rank);
  bool exchange_id(hfr_unique_id_t& id);
  // False: no growth takes this rank in, or it failed.
  bool join_in_growth();
  void begin_training();
  void train();
  void leave();
  // False: it failed. Wrong sums end the process.
  bool sum(const Step& step, hfr_comm_t comm, const std::vector<int>& members, bool* wished);
  [[noreturn]] void end_wrong();
  // Looked at after all communicators and streams are gone.
  std::string what_is_left();
  void report(const std::string& left);

  // ---- the communicator changes (changes.cc). False: it failed.

  bool change_after(const Step& step);
  bool split(const Step& step);
  bool suspend(const Step& step);
  bool grow();
  // Shrinks until survivors have agreed who they are and where they go on.
  bool recover();
  // On a new communicator: who its members are, at which step they go on, which growth is next.
  bool agree(const char* where);

  const Plan plan_;
  const uint32_t timeout_ms_;
  const bool may_recover_;
  const int lives_;
  const bool by_id_;
  const bool non_blocking_;
  const std::string spoil_;
  const int rank_;       // the process' number, which it keeps whatever its communicator says
  const int num_first_;  // ranks that there are from the beginning; those above join in growths
  const int num_all_;
  Page* const page_;
  std::vector<Descriptor> before_;
  Limit limit_;
  Outcome outcome_;
  Outcome::Counts counts_;
  Watch watch_;
  Summer summer_;

  int life_ = 0;
  hfr_comm_t comm_ = nullptr;
  std::vector<int> members_;
  uint64_t step_ = 0;
  size_t next_growth_ = 0;
  bool last_ = false;   // all ranks have agreed to end
  bool ended_ = false;  // no further life, no recovery
};

}  // namespace hfr_tests
