#include "tools/command_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace hfr::tools {
namespace {

using testing::ElementsAre;

TEST(CommandLine, WithoutOptions) {
  const std::vector<std::string> names = {"--nodes", "--ranks-per-node"};
  EXPECT_THAT(
      without_options({"perf", "--nodes", "2", "-b", "8", "--ranks-per-node=4", "-c"}, names),
      ElementsAre("perf", "-b", "8", "-c"));
  EXPECT_THAT(without_options({"perf", "--nodesx", "2"}, names),
              ElementsAre("perf", "--nodesx", "2"));
  EXPECT_THAT(without_options({"perf", "--nodes"}, names), ElementsAre("perf"));
}

TEST(CommandLine, IsLaunched) {
  std::map<std::string, std::string> variables;
  auto environment = [&](const std::string& name) -> std::optional<std::string> {
    auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  EXPECT_FALSE(is_launched(environment));
  for (const char* name : {"RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    variables = {{name, ""}};
    EXPECT_FALSE(is_launched(environment)) << name;
    variables = {{name, "0"}};
    EXPECT_TRUE(is_launched(environment)) << name;
  }
}

}  // namespace
}  // namespace hfr::tools
