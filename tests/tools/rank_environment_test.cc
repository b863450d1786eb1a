#include "tools/rank_environment.hpp"

#include <gtest/gtest.h>

#include <map>

namespace hfr::tools {
namespace {

TEST(RankEnvironment, NumbersRanksNodeByNode) {
  LaunchSpec spec;
  spec.nodes = 3;
  spec.ranks_per_node = 4;
  for (int rank = 0; rank < spec.num_ranks(); ++rank) {
    std::map<std::string, std::string> variables;
    for (auto& [name, value] : rank_environment(spec, {"job", "127.0.0.1:4000", "secret"}, rank))
      variables[name] = value;
    EXPECT_EQ(variables.size(), 8u);
    EXPECT_EQ(variables["RANK"], std::to_string(rank));
    EXPECT_EQ(variables["WORLD_SIZE"], "12");
    EXPECT_EQ(variables["LOCAL_RANK"], std::to_string(rank % 4));
    EXPECT_EQ(variables["LOCAL_WORLD_SIZE"], "4");
    EXPECT_EQ(variables["NODE_RANK"], std::to_string(rank / 4));
    EXPECT_EQ(variables["HFREDUCE_HOSTID"], "job-node" + std::to_string(rank / 4));
    EXPECT_EQ(variables["HFREDUCE_RENDEZVOUS"], "127.0.0.1:4000");
    EXPECT_EQ(variables["HFREDUCE_SECRET"], "secret");
  }
}

}  // namespace
}  // namespace hfr::tools
