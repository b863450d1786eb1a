#include "tools/sim_report.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tools/sim_cluster.hpp"
#include "tools/sim_run.hpp"

namespace hfr_tests {
namespace {

using hfr::tools::parse_gpu_counts;
using hfr::tools::SimRequest;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(SimRun, Counts) {
  EXPECT_THAT(*parse_gpu_counts("48"), ElementsAre(48));
  EXPECT_THAT(*parse_gpu_counts("16,8,64"), ElementsAre(16, 8, 64));
  EXPECT_THAT(*parse_gpu_counts("16..100"), ElementsAre(16, 32, 64, 100));
  EXPECT_THAT(*parse_gpu_counts("16..64"), ElementsAre(16, 32, 64));
  EXPECT_THAT(*parse_gpu_counts("16..16"), ElementsAre(16));
  for (const char* wrong : {"", "0", "x", "16..", "..16", "16..8", "1,", "16 32", "-8", "1e3"})
    EXPECT_FALSE(parse_gpu_counts(wrong).ok()) << wrong;
}

SimRequest request(int gpus, size_t bytes) {
  SimRequest request;
  request.cluster = *hfr::tools::read_cluster_file(HFREDUCE_CLUSTERS "/fire-flyer-2-nvlink.json");
  request.num_gpus = gpus;
  request.bytes = bytes;
  return request;
}

TEST(SimRun, RefusesWhatDoesNotFit) {
  const std::pair<SimRequest, const char*> cases[] = {
      {request(12, 1 << 20), "12 is no multiple of the 8"},
      {request(80'000, 1 << 20), "more than the 10000"},
      {request(16, 6), "no whole number of float32"},
      {request(16, 0), "no whole number of float32"},
  };
  for (const auto& [wrong, sentence] : cases) {
    const auto point = hfr::tools::simulate(wrong, nullptr, {});
    ASSERT_FALSE(point.ok()) << sentence;
    EXPECT_THAT(point.status().message(), HasSubstr(sentence));
  }
}

TEST(SimRun, ScatteredNodesAreTheSeeds) {
  SimRequest scattered = request(512, 8 << 20);
  scattered.cluster.fabric.port_rate = 1e9;  // so that places matter
  const double side_by_side = hfr::tools::simulate(scattered, nullptr, {})->seconds;
  scattered.scatter_seed = 1;
  const double one = hfr::tools::simulate(scattered, nullptr, {})->seconds;
  EXPECT_EQ(hfr::tools::simulate(scattered, nullptr, {})->seconds, one);
  EXPECT_GT(one, side_by_side);
  const double scattered_ring = hfr::tools::simulate(scattered, nullptr, {})->nccl_ring_algbw;
  scattered.scatter_seed = 0;
  EXPECT_LT(scattered_ring, hfr::tools::simulate(scattered, nullptr, {})->nccl_ring_algbw);
  scattered.scatter_seed = 2;
  EXPECT_NE(hfr::tools::simulate(scattered, nullptr, {})->seconds, one);
}

TEST(SimRun, BuffersThatStayInTheCachesMoveAtTheirRates) {
  SimRequest with;
  with.cluster = *hfr::tools::parse_cluster(R"({"name": "m", "nodes": 2, "one_machine": true,
      "node": {"sockets": [{"memory_gbytes_per_s": 1000, "cache_mib": 32}], "host": {"ranks": 1, "cores": 2,
        "copy_gbytes_per_core_s": 5, "add_gbytes_per_core_s": 5, "send_gbytes_per_core_s": 5, "receive_gbytes_per_core_s": 5,
        "cached": {"copy_gbytes_per_core_s": 10, "add_gbytes_per_core_s": 10, "send_gbytes_per_core_s": 10,
                   "receive_gbytes_per_core_s": 10}}},
      "fabric": {"base_latency_us": 1}})");
  with.num_gpus = 2;
  SimRequest without = with;
  without.cluster.node.host.cached.reset();
  const auto seconds = [](SimRequest request, size_t mib) {
    request.bytes = mib << 20;
    return hfr::tools::simulate(request, nullptr, {})->seconds;
  };
  // Input and result of two ranks: a quarter of 32 MiB, then more.
  EXPECT_LT(seconds(with, 2), 0.6 * seconds(without, 2));
  EXPECT_EQ(seconds(with, 4), seconds(without, 4));
  // Nodes of their own have caches of their own.
  with.cluster.one_machine = without.cluster.one_machine = false;
  EXPECT_LT(seconds(with, 4), 0.6 * seconds(without, 4));
  EXPECT_EQ(seconds(with, 8), seconds(without, 8));
}

TEST(SimReport, SaysTheSameInAllForms) {
  const SimRequest what = request(32, 16 << 20);
  hfr::sim::SpanLog log(16);
  const auto point = hfr::tools::simulate(what, &log, {});
  ASSERT_TRUE(point.ok()) << point.status().message();
  EXPECT_GT(point->algbw, 0);
  EXPECT_NEAR(point->busbw, point->algbw * 2 * 31 / 32, 1e-9);
  for (double share : point->utilisation) EXPECT_LE(share, 1 + 1e-9);
  const auto json = nlohmann::json::parse(hfr::tools::sim_json(what.cluster, {*point}));
  EXPECT_EQ(json["results"][0]["gpus"], 32);
  EXPECT_DOUBLE_EQ(json["results"][0]["algbw"], point->algbw);
  EXPECT_TRUE(json["results"][0]["utilisation"].contains("GPU group"));
  EXPECT_FALSE(json["results"][0]["utilisation"].contains("cores"));
  EXPECT_THAT(hfr::tools::sim_table({*point}), HasSubstr(point->limiter));
  EXPECT_THAT(hfr::tools::sim_plot(what.cluster, {*point}), HasSubstr("HFReduce, simulated"));

  // Every rank of the first two nodes copies, and every chunk of a group's carrier is there.
  const auto trace = nlohmann::json::parse(hfr::tools::sim_trace(log, 8));
  double bytes_in = 0;
  for (const auto& event : trace) {
    ASSERT_LT(event["pid"], 16);
    if (event["ph"] == "X" && event["name"] == "copy in")
      bytes_in += event["args"]["bytes"].get<double>();
    if (event["ph"] == "X") {
      EXPECT_GE(event["dur"], 0);
    }
  }
  EXPECT_EQ(bytes_in, 2 * 4 * (16 << 20));  // two nodes, four pairs
}

}  // namespace
}  // namespace hfr_tests
