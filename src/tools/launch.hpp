// Starts ranks on this machine and sees them through: `hfreduce run`, and perf's own nodes.
#pragma once

#include <string>
#include <vector>

namespace hfr::tools {

struct LaunchSpec {
  int nodes = 1;
  int ranks_per_node = 1;
  bool tag = false;  // each line of output begins with [rank]
  std::vector<std::string> command;
};

// Runs the command once per rank, with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, NODE_RANK, HFREDUCE_HOSTID,
// HFREDUCE_RENDEZVOUS and HFREDUCE_SECRET set. When one fails the others are ended: SIGTERM, then SIGKILL after
// 5 s. Returns 0, or the first failure's exit status (128 + signal for a death by signal), and tells of it
// on standard error. Nothing that it started outlives it, not even when it is killed.
int launch(const LaunchSpec& spec);

}  // namespace hfr::tools
