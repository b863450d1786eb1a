// Ranks that are processes and share GPU 0, with or without MPS: results, and a killed peer while
// the others' streams wait.
#include <gmock/gmock.h>

#include "../gpu/ranks.hpp"
#include "values.hpp"

namespace hfr_tests {
namespace {

class Processes : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(Processes, SumsOnStreamsAndBlocking) {
  const auto [n, num_nodes] = GetParam();
  Ranks ranks({.num_ranks = n, .num_nodes = num_nodes},
              [n = n](int rank, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
                hfr_comm_t comm = comms[0];
                GpuStream stream;
                for (size_t count : {1u, 1023u, 65'537u, 3'000'001u}) {
                  for (bool blocking : {false, true}) {
                    DeviceBuffer data(count * 4);
                    data.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, n, count));
                    if (!blocking) stream.spin(static_cast<uint64_t>(rank) * 1'000'000);
                    if (hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm,
                                       blocking ? nullptr : stream.get(), nullptr) != HFR_SUCCESS) {
                      return hfr_get_last_error(comm);
                    }
                    stream.synchronize();
                    if (data.download() != make_expected(HFR_FLOAT32, HFR_SUM, n, count))
                      return "wrong sum of " + std::to_string(count);
                  }
                }
                return hfr_comm_finalize(comm) == HFR_SUCCESS ? "" : hfr_get_last_error(comm);
              });
  if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
}

std::string processes_name(const testing::TestParamInfo<std::pair<int, int>>& info) {
  return std::to_string(info.param.first) + "ranks" + std::to_string(info.param.second) + "nodes";
}

INSTANTIATE_TEST_SUITE_P(Cuda, Processes,
                         testing::Values(std::pair{2, 1}, std::pair{4, 1}, std::pair{4, 2},
                                         std::pair{3, 3}),
                         processes_name);

// The victim is killed while the others' streams wait for it: they are released, and the error
// names it. One of them holds its own stream until then.
TEST(CudaProcesses, AKilledPeerReleasesStreams) {
  constexpr int kRanks = 3;
  constexpr int kVictim = 1;
  Ranks ranks({.num_ranks = kRanks},
              [](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
                hfr_comm_t comm = comms[0];
                GpuStream stream;
                Gate gate;
                DeviceBuffer data(size_t{4} << 20);
                if (rank == kVictim) {
                  say("ready");
                  while (true) pause();
                }
                if (rank == 2) gate.hold(stream);
                say("ready");
                const hfr_status_t started =
                    hfr_all_reduce(data.data(), data.data(), size_t{1} << 20, HFR_FLOAT32, HFR_SUM,
                                   comm, stream.get(), nullptr);
                const std::string end = await_failure(comm, started);
                gate.open();
                stream.synchronize();
                return end;
              });
  if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
  ranks.expect_named_when_killed(kVictim);
}

}  // namespace
}  // namespace hfr_tests
