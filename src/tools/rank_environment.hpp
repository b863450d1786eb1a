// The environment that a rank of `hfreduce run` finds. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/launch.hpp"

namespace hfr::tools {

// What all ranks of one job share.
struct Meeting {
  std::string job;         // names the job; part of HFREDUCE_HOSTID
  std::string rendezvous;  // host:port
  std::string secret;
};

// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, NODE_RANK, HFREDUCE_HOSTID, HFREDUCE_RENDEZVOUS,
// HFREDUCE_SECRET. Ranks are numbered node by node.
std::vector<std::pair<std::string, std::string>> rank_environment(const LaunchSpec& spec,
                                                                  const Meeting& meeting, int rank);

}  // namespace hfr::tools
