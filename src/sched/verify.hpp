// verify: proves a set of schedules right by running them abstractly, under many orders of events.
// Pure.
#pragma once

#include <vector>

#include "base/status.hpp"
#include "sched/schedule.hpp"

namespace hfr {

// All nodes' schedules for one kind of chunk, by node.
using ScheduleSet = std::vector<Schedule>;

// `cycle[i]` is for chunks c with c % cycle.size() == i (a forest's trees in turn); `window` lanes
// are in flight. Runs enough chunks for every lane to be used four times, under adversarial orders
// of steps and deliveries, and checks
//  - that every node publishes a value that holds each node's input exactly once, divided exactly
//  once;
//  - that nothing unread is overwritten: one arrival at most waits in a landing, and a result does
//  not change while a
//    put or a copy-out may still read it;
//  - that every order ends: no wait is circular;
//  - that the window is a multiple of the number of trees, so that a lane stays with one tree.
// The sentence of a failure names the node, the chunk and the step.
Status verify(const std::vector<ScheduleSet>& cycle, int window);

// The same for any mixture: chunk c takes *train[c].
Status verify_train(const std::vector<const ScheduleSet*>& train, int window);

}  // namespace hfr
