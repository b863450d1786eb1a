// Links: which nodes can reach each other now, over one network. Who cannot waits for the next
// link that comes back, and looks again.
#pragma once

#include <utility>
#include <vector>

#include "sim/event_loop.hpp"

namespace hfr::sim {

class Links {
 public:
  Links(EventLoop& loop, int num_nodes) : loop_(loop), cuts_(static_cast<size_t>(num_nodes), 0) {}

  // Inside a node nothing can be cut.
  bool up(int node, int other) const { return node == other || (at(node) == 0 && at(other) == 0); }
  void cut(int node) { ++cuts_[static_cast<size_t>(node)]; }
  void restore(int node) {
    --cuts_[static_cast<size_t>(node)];
    for (const auto& [actor, what] : std::exchange(waiting_, {})) loop_.in(0, *actor, what);
  }
  void await(Actor& actor, uint64_t what) { waiting_.emplace_back(&actor, what); }

 private:
  int at(int node) const { return cuts_[static_cast<size_t>(node)]; }

  EventLoop& loop_;
  std::vector<int> cuts_;  // by node; several may last at once
  std::vector<std::pair<Actor*, uint64_t>> waiting_;
};

}  // namespace hfr::sim
