// verify: proves a set of schedules right, for every order in which bytes may move. Pure.
//
// A schedule has no choices: each step waits for definite bytes. So one run tells what has happened
// before what in every run, and a rule holds always when, of each two accesses that must not meet,
// one has happened before the other (docs/schedules.md). Nothing is assumed about the order of
// messages, not even between two nodes.
#pragma once

#include <vector>

#include "base/status.hpp"
#include "sched/schedule.hpp"

namespace hfr {

// All nodes' schedules for each tree that chunks take in turn: [tree][node].
using ForestSchedules = std::vector<std::vector<Schedule>>;

// Chunk c takes cycle[c % cycle.size()]; `window` lanes are in flight. Proves that
//  - every node publishes, once, each node's input added exactly once and an average divided
//  exactly once, and every
//    node computes the very same expression, hence the same bits;
//  - nothing unread is overwritten: at most one arrival waits in a landing, and a result is not
//  replaced while a put
//    or a copy-out of it may be under way;
//  - bytes are read in the chunk that they were sent for, and all are read;
//  - every schedule ends: no set of waits is circular.
// Fails when the window is not a multiple of the number of trees, or with the node, step and chunk
// that break a rule.
Status verify(const ForestSchedules& cycle, int window);

// The same for a train whose operations take different forests (a butterfly is a forest of one):
// chunk c takes forests[order[c % order.size()]], and of that forest the tree c % its size.
Status verify_train(const std::vector<ForestSchedules>& forests, const std::vector<int>& order,
                    int window);

}  // namespace hfr
