// verify: proves a set of schedules right by running them abstractly. Pure.
#pragma once

#include <vector>

#include "base/status.hpp"
#include "sched/schedule.hpp"

namespace hfr {

// `cycle[i]` holds all nodes' schedules for chunks c with c % cycle.size() == i (a forest's trees
// in turn). `window` lanes are in flight. Runs enough chunks for every lane to be reused three
// times, under adversarial orders of delivery, and checks that
//  - every node's published value holds each node's input exactly once;
//  - nothing unread is overwritten: at most one arrival waits in a landing, and a result is not
//  replaced while a put or a
//    copy-out of it may be under way;
//  - every schedule ends: no set of waits is circular.
// Fails when the window is not a multiple of the number of trees, or with the node, step and chunk
// that break a rule.
Status verify(const std::vector<std::vector<Schedule>>& cycle, int window);

}  // namespace hfr
