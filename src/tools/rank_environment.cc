#include "tools/rank_environment.hpp"

#include "base/text.hpp"

namespace hfr::tools {

std::vector<std::pair<std::string, std::string>> rank_environment(const LaunchSpec& spec,
                                                                  const Meeting& meeting,
                                                                  int rank) {
  const int node = rank / spec.ranks_per_node;
  return {{"RANK", cat(rank)},
          {"WORLD_SIZE", cat(spec.num_ranks())},
          {"LOCAL_RANK", cat(rank % spec.ranks_per_node)},
          {"LOCAL_WORLD_SIZE", cat(spec.ranks_per_node)},
          {"NODE_RANK", cat(node)},
          {"HFREDUCE_HOSTID", cat(meeting.job, "-node", node)},
          {"HFREDUCE_RENDEZVOUS", meeting.rendezvous},
          {"HFREDUCE_SECRET", meeting.secret}};
}

}  // namespace hfr::tools
