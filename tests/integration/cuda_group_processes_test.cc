// Groups of GPUs whose members are processes: found over NVLink, and a member that is killed.
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "../gpu/ranks.hpp"
#include "cuda_groups.hpp"

namespace hfr_tests {
namespace {

TEST_F(SeveralGpus, ProcessesFindNvlink) {
  constexpr int kRanks = 2;
  Ranks ranks({.num_ranks = kRanks},
              [](int rank, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
                if (num_gpus() < kRanks) return "too few GPUs";
                const std::string wrong = sum_and_average(rank, kRanks, comms[0]);
                return wrong.empty() && hfr_comm_finalize(comms[0]) != HFR_SUCCESS
                           ? hfr_get_last_error(comms[0])
                           : wrong;
              });
  std::vector<std::string> said;
  for (int rank = 0; rank < kRanks; ++rank) said.push_back(ranks.line(rank));
  for (const std::string& line : said) {
    if (line.rfind("skip ", 0) == 0) GTEST_SKIP() << line.substr(5);
    if (line == "end too few GPUs") GTEST_SKIP() << "one GPU, or HFREDUCE_TEST_GPUS is not set";
    EXPECT_EQ(line, "end ");
  }
  if (!groups_were_made()) GTEST_SKIP() << "no NVLink";
}

// A member of rank 0's group is killed while the others' operations have already been handed to the
// GPU: their streams are released, and the error names it. `busy`: in the middle of operations;
// else before one that the others wait in.
class KilledMember : public GpuGroups, public testing::WithParamInterface<bool> {};

TEST_P(KilledMember, ReleasesStreams) {
  constexpr int kRanks = 4;
  constexpr int kVictim = 1;
  const bool busy = GetParam();
  Ranks ranks({.num_ranks = kRanks},
              [busy](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
                hfr_comm_t comm = comms[0];
                GpuStream stream;
                DeviceBuffer data(size_t{16} << 20);
                say("ready");
                hfr_status_t status = HFR_SUCCESS;
                for (int i = 0; status == HFR_SUCCESS; ++i) {
                  if (rank == kVictim && i == 20) {
                    if (!busy) stream.synchronize();
                    say("enough");
                    while (!busy) pause();
                  }
                  status = hfr_all_reduce(data.data(), data.data(), size_t{4} << 20, HFR_FLOAT32,
                                          HFR_SUM, comm, stream.get(), nullptr);
                }
                const std::string error = hfr_get_last_error(comm);
                stream.synchronize();
                return std::to_string(status) + " " + error;
              });
  if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
  ASSERT_EQ(ranks.line(kVictim), "enough");
  ranks.expect_named_when_killed(kVictim);
}
INSTANTIATE_TEST_SUITE_P(GpuGroups, KilledMember, testing::Bool(),
                         [](const auto& param) { return param.param ? "Busy" : "Idle"; });

}  // namespace
}  // namespace hfr_tests
