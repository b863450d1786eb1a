#include "comm/roster.hpp"

#include <gmock/gmock.h>

namespace hfr {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Member {
  std::string machine, process, device = "host", cpus = "0-3";
};

Roster roster_of(const std::vector<Member>& members) {
  Roster roster;
  for (const Member& member : members) {
    RankInfo info;
    info.machine = member.machine;
    info.process = member.process;
    info.device = member.device;
    info.cpus = member.cpus;
    roster.add(std::move(info));
  }
  return roster;
}

// The first process of a container often has the number and the namespace that it has elsewhere.
TEST(Roster, ProcessesOfTwoMachinesAreTwoWhateverTheirNumbers) {
  const Roster roster = roster_of({{"a", "1@7"}, {"b", "1@7"}, {"a", "1@7"}, {"a", "2@7"}});
  EXPECT_FALSE(roster.share_process(0, 1));
  EXPECT_TRUE(roster.share_process(0, 2));
  EXPECT_FALSE(roster.share_process(0, 3));
  EXPECT_FALSE(roster.is_one_process());
  EXPECT_FALSE(roster.is_one_process({0, 1}));
  EXPECT_TRUE(roster.is_one_process({0, 2}));
  EXPECT_TRUE(roster_of({{"a", "1@7"}, {"a", "1@7"}}).is_one_process());
}

TEST(Roster, PlacesOfProcesses) {
  const Roster roster = roster_of(
      {{"a", "5"}, {"b", "5"}, {"a", "4"}, {"a", "5"}, {"b", "9"}, {"b", "5"}, {"a", "3"}});
  std::vector<int> firsts, places;
  for (int rank = 0; rank < roster.num_ranks(); ++rank) {
    firsts.push_back(roster.first_of_process(rank));
    places.push_back(roster.process_idx(rank));
  }
  EXPECT_THAT(firsts, ElementsAre(0, 1, 2, 0, 4, 1, 6));
  EXPECT_THAT(places, ElementsAre(0, 0, 1, 0, 1, 0, 2));
}

TEST(Roster, GpuRanksOfAMachineShareItsCpus) {
  const Roster roster = roster_of({{"a", "1", "cuda"},
                                   {"a", "2", "host"},
                                   {"b", "3", "cuda"},
                                   {"a", "4", "cuda"},
                                   {"a", "5", "cuda"}});
  EXPECT_TRUE(roster.any_on_device());
  EXPECT_FALSE(roster.all_on_device());
  EXPECT_EQ(roster.cpu_share(4).num_shares, 3);
  EXPECT_EQ(roster.cpu_share(4).share_idx, 2);
  EXPECT_EQ(roster.cpu_share(2).num_shares, 1);
  EXPECT_EQ(roster.cpu_share(2).share_idx, 0);
}

TEST(Roster, OnlyRanksOfTheMachineCompeteForItsCpus) {
  const Roster roster = roster_of({{"a", "1", "host", "0"},
                                   {"a", "2", "host", "0"},
                                   {"a", "3", "host", "1"},
                                   {"b", "4", "host", "0"}});
  EXPECT_FALSE(roster.has_cpu(0));
  EXPECT_FALSE(roster.has_cpu(1));
  EXPECT_TRUE(roster.has_cpu(2));
  EXPECT_TRUE(roster.has_cpu(3));
}

TEST(OwnGpus, NoTwoOnOneAndNoneElsewhere) {
  const RankInfo a = {.node_name = "n", .machine = "a"}, b = {.node_name = "n", .machine = "b"};
  EXPECT_TRUE(have_own_gpus({gpu_identity("0", a), gpu_identity("1", a)}));
  EXPECT_TRUE(have_own_gpus({gpu_identity("0", a), gpu_identity("0", b)}));
  EXPECT_FALSE(have_own_gpus({gpu_identity("0", a), gpu_identity("1", a), gpu_identity("0", a)}));
  EXPECT_FALSE(have_own_gpus({gpu_identity("0", a), ""})) << "a rank in host memory";
  EXPECT_FALSE(have_own_gpus({}));
}

// Ranks 0 to 3 on one node, 4 and 5 on another of the same machine.
TEST(GpuCompany, MatesAreOfTheProcessSharersOfTheNode) {
  const Roster roster = roster_of({{"m", "1", "cuda"},
                                   {"m", "2", "cuda"},
                                   {"m", "1", "cuda"},
                                   {"m", "3", "cuda"},
                                   {"m", "1", "cuda"},
                                   {"m", "4", "cuda"}});
  const std::vector<std::string> gpus = {"x", "x", "x", "y", "x", "x"};
  const std::vector<int> nodes = {0, 0, 0, 0, 1, 1};
  const GpuCompany two = find_gpu_company(roster, make_shape(2, nodes), gpus);
  EXPECT_THAT(two.mates, ElementsAre(0, 2, 4));
  EXPECT_EQ(two.mate_idx, 1u);
  EXPECT_THAT(two.sharers, ElementsAre(1));
  const GpuCompany five = find_gpu_company(roster, make_shape(5, nodes), gpus);
  EXPECT_THAT(five.mates, ElementsAre(5));
  EXPECT_THAT(five.sharers, ElementsAre(0));
  const GpuCompany three = find_gpu_company(roster, make_shape(3, nodes), gpus);
  EXPECT_THAT(three.mates, ElementsAre(3));
  EXPECT_THAT(three.sharers, IsEmpty());
}

TEST(GpuCompany, ARankInHostMemoryHasNone) {
  const Roster roster = roster_of({{"m", "1"}, {"m", "1"}});
  const GpuCompany none = find_gpu_company(roster, make_shape(0, std::vector<int>{0, 0}), {"", ""});
  EXPECT_THAT(none.mates, IsEmpty());
  EXPECT_THAT(none.sharers, IsEmpty());
}

}  // namespace
}  // namespace hfr
