// Starts ranks on this machine and sees them through: `hfreduce run`, and perf's own nodes.
//
//   hfreduce run (launcher) --- supervisor --+-- rank 0 --- whatever it starts
//     passes signals on         subreaper    +-- rank 1 ...
//     subreaper
//
// No orphans. The supervisor adopts whatever the ranks leave behind (it is their subreaper) and
// ends it, so nothing hides in a process group or session of its own. When the launcher dies, even
// by SIGKILL, a pipe tells the supervisor, which kills everything. When the supervisor dies, the
// ranks die with it (parent-death signal) and the launcher adopts and kills the rest.
#pragma once

#include <string>
#include <vector>

namespace hfr::tools {

struct LaunchSpec {
  int nodes = 1;
  int ranks_per_node = 1;
  bool tag = false;    // each line of output begins with [rank]
  double grace_s = 5;  // between asking ranks to end and killing them
  std::vector<std::string> command;

  int num_ranks() const { return nodes * ranks_per_node; }
};

// Runs the command once per rank, with the variables of rank_environment() set. SIGINT, SIGTERM,
// SIGHUP and SIGQUIT are passed to every rank's process group and begin the end of the job;
// SIGUSR1, SIGUSR2, SIGTSTP and SIGCONT are only passed on. When a rank fails, the others are
// ended: SIGTERM, then SIGKILL after the grace; a second SIGINT or SIGTERM kills at once.
//
// Rank 0 reads standard input unless it is a terminal; the others read nothing. Returns 0, or the
// first failure's exit status (128 + signal for a death by signal, 127 for a program that is not
// there), and tells on standard error who failed first and how. Call it from a process with one
// thread and no children.
int launch(const LaunchSpec& spec);

}  // namespace hfr::tools
