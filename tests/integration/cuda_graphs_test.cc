// Operations in CUDA graphs: capture and replay, many replays in flight, several operations in a
// graph, calls between replays, a killed peer. Ranks are processes that share GPU 0. CTest runs
// this with several numbers of hardware queues.
#include <gmock/gmock.h>

#include "../gpu/ranks.hpp"
#include "cuda_graph_scenarios.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

struct Case {
  size_t scenario;
  int num_ranks;
  int num_nodes;
};

class Graphs : public testing::TestWithParam<Case> {};

TEST_P(Graphs, Processes) {
  const Case& c = GetParam();
  const Scenario scenario = kScenarios[c.scenario].second;
  Ranks ranks({.num_ranks = c.num_ranks, .num_nodes = c.num_nodes},
              [=](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
                return scenario({.rank = rank, .num_ranks = c.num_ranks, .comm = comms[0]});
              });
  if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (size_t scenario = 0; scenario < std::size(kScenarios); ++scenario) {
    for (auto [ranks, nodes] :
         {std::pair{1, 1}, std::pair{2, 1}, std::pair{4, 1}, std::pair{4, 2}, std::pair{3, 3}}) {
      cases.push_back({scenario, ranks, nodes});
    }
  }
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(kScenarios[info.param.scenario].first) + std::to_string(info.param.num_ranks) +
         "ranks" + std::to_string(info.param.num_nodes) + "nodes";
}

INSTANTIATE_TEST_SUITE_P(Cuda, Graphs, testing::ValuesIn(all_cases()), case_name);

// A peer is killed while the others' replays wait for it: they pass, and so does what is launched
// later; the error names the peer.
TEST(CudaGraphFailure, AKilledPeerReleasesReplays) {
  constexpr int kRanks = 3;
  constexpr int kVictim = 1;
  Ranks ranks({.num_ranks = kRanks},
              [](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
                hfr_comm_t comm = comms[0];
                GpuStream stream;
                DeviceBuffer data(size_t{4} << 20);
                const Graph graph(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, [&] {
                  for (size_t count : {size_t{16}, size_t{1} << 20}) {
                    hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm,
                                   stream.get(), nullptr);
                  }
                });
                graph.launch(stream);
                stream.synchronize();
                say("ready");
                if (rank == kVictim) {
                  while (true) pause();
                }
                for (int i = 0; i < 3; ++i) graph.launch(stream);
                stream.synchronize();
                hfr_status_t status = HFR_SUCCESS;
                hfr_comm_get_async_error(comm, &status);
                const std::string error = hfr_get_last_error(comm);
                for (int i = 0; i < 3; ++i) graph.launch(stream);
                stream.synchronize();
                return std::to_string(status) + " " + error;
              });
  if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
  ranks.expect_named_when_killed(kVictim);
}

}  // namespace
}  // namespace hfr_tests
