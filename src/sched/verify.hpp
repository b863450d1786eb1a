// verify: proves a set of schedules right, for every order in which bytes may move. Pure.
//
// A schedule has no choices: each step waits for definite bytes. So one run tells what happened
// before what in every run, and a rule holds always when, of each two accesses that must not meet,
// one happened before the other (docs/schedules.md). Nothing is assumed about the order of
// messages, not even between two nodes.
#pragma once

#include <vector>

#include "base/status.hpp"
#include "sched/schedule.hpp"

namespace hfr {

// `cycle[i]` is for chunks c with c % cycle.size() == i (a forest's trees in turn); `window` lanes
// are in flight. Proves
//  - that every node publishes, once, a value that holds each node's input exactly once and that an
//    average divides exactly once; and that all nodes add in the same order, hence have the same
//    bits;
//  - that nothing unread is overwritten: at most one arrival waits in a landing, and a result does
//  not
//    change while a put or a copy-out may still read it;
//  - that bytes are read in the chunk that they were sent for, and all of them are read;
//  - that every order ends: no wait is circular;
//  - that the window is a multiple of the number of trees, so that a lane stays with one tree.
// The sentence of a failure names the node, the step and the chunk.
Status verify(const std::vector<ScheduleSet>& cycle, int window);

// The same for any mixture of kinds: chunk c takes *train[c]. Lanes may change their tree.
Status verify_train(const std::vector<const ScheduleSet*>& train, int window);

}  // namespace hfr
