// Supervisor: the process between `hfreduce run` and its ranks (launch.hpp has the picture).
#pragma once

#include <signal.h>

#include "base/net.hpp"
#include "tools/launch.hpp"

namespace hfr::tools {

// Starts the ranks and sees them through; returns the job's exit status. `launcher_alive` is the
// read end of a pipe whose other end only the launcher holds. `mask` is what ranks start with. The
// caller is a fresh process that exits with what this returns; SIGCHLD and the signals of
// passed_signals() are blocked.
int supervise(const LaunchSpec& spec, UniqueFd launcher_alive, const sigset_t& mask);

// Signals that the launcher passes to the supervisor, and it to the ranks.
sigset_t passed_signals();

}  // namespace hfr::tools
