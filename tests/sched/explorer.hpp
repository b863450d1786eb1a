// Explorer: runs one lane of a few nodes in every order in which adds, sends, deliveries and
// copy-outs can happen, with memory that holds what was last written to it. It knows none of
// verify's rules: it only sees wrong results and runs that cannot go on. So it tells whether
// verify's proof is worth anything.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "sched/schedule.hpp"

namespace hfr {

class Explorer {
 public:
  // Generation g runs chunks[g], all nodes' schedules.
  Explorer(std::vector<ScheduleSet> chunks, size_t max_states);

  // The first wrong outcome of any order as a sentence; empty when there is none.
  std::string run();
  // All orders were tried; else there were more than max_states.
  bool complete() const { return seen_.size() < max_states_; }
  size_t num_states() const { return seen_.size(); }

 private:
  struct Message {
    int sender, receiver, landing, generation;
    int payload = -1;  // what left; -1 while the source may still be read
    bool delivered = false;
    auto operator<=>(const Message&) const = default;
  };
  struct Node {
    int generation = 0;
    int step = 0;
    int copy_out = -1;         // generation that local ranks have yet to copy
    std::vector<int> memory;   // values by landing; 0 is the result slot
    std::vector<int> arrived;  // generation + 1 of the latest arrival
  };
  struct State {
    std::vector<Node> nodes;
    std::vector<Message> messages;
  };

  void settle(State& state) const;
  bool can_add(const State& state, int node) const;
  void do_add(State& state, int node);
  void copy_out(State& state, int node);
  std::vector<State> successors(const State& state);
  const Step* next_step(const State& state, int node) const;
  bool has_unsent(const State& state, int node) const;
  bool finished(const State& state) const;
  int value(const std::string& text);
  std::string key(const State& state) const;

  std::vector<ScheduleSet> chunks_;
  size_t max_states_;
  size_t num_landings_;
  std::vector<std::string> values_;
  std::map<std::string, int> value_numbers_;
  std::map<int, int> sums_;  // generation: the value that the first copy-out saw
  std::unordered_set<std::string> seen_;
  std::string fault_;
};

}  // namespace hfr
