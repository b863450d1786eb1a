// Children of this process, those it adopted as a subreaper included.
#pragma once

#include <sys/types.h>

#include <vector>

namespace hfr::tools {

// Those not waited for yet, so that their ids cannot have passed to anybody else.
std::vector<pid_t> direct_children();

// Sends `signal` to each. Grandchildren become children when their parent dies: repeat until there
// are none.
void signal_children(int signal);

// Kills children, and what they leave behind, until none is left.
void kill_and_reap_children();

}  // namespace hfr::tools
