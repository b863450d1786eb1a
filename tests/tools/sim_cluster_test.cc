#include "tools/sim_cluster.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace hfr_tests {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json valid() {
  return json::parse(R"({
    "name": "two nodes", "about": "free text", "nodes": 2,
    "node": {
      "sockets": [{"memory_gbytes_per_s": 100, "add_gbytes_per_s": 50, "cache_mib": 1.5}],
      "root_ports": [{"socket": 0, "each_way_gbytes_per_s": 20}],
      "gpus": [{"root_port": 0, "each_way_gbytes_per_s": 10, "memory_gbytes_per_s": 900}],
      "nics": [{"root_port": 0, "each_way_gbytes_per_s": 5}]
    },
    "fabric": {"base_latency_us": 2}
  })");
}

TEST(SimCluster, ReadsWhatIsThere) {
  const auto cluster = hfr::tools::parse_cluster(valid().dump());
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  EXPECT_EQ(cluster->name, "two nodes");
  EXPECT_EQ(cluster->node.sockets[0].cache_bytes, 3u << 19);
  EXPECT_EQ(cluster->node.root_ports[0].both_ways_rate, 40e9);
  EXPECT_EQ(cluster->node.gpus[0].memory_rate, 900e9);
  EXPECT_EQ(cluster->fabric.spines, 0);
}

struct Wrong {
  const char* name;
  const char* patch;  // of a valid file (RFC 7386: null removes)
  const char* sentence;
};

class SimClusterWrong : public testing::TestWithParam<Wrong> {};

TEST_P(SimClusterWrong, IsNamed) {
  json file = valid();
  file.merge_patch(json::parse(GetParam().patch));
  const auto cluster = hfr::tools::parse_cluster(file.dump());
  ASSERT_FALSE(cluster.ok());
  EXPECT_THAT(cluster.status().message(), HasSubstr(GetParam().sentence));
}

constexpr Wrong kWrong[] = {
    {"missing", R"({"nodes": null})", "nodes is missing"},
    {"unknown", R"({"node": {"gpu": 1}})", "node.gpu is not known here"},
    {"type", R"({"name": 7})", "name must be a string"},
    {"negative", R"({"fabric": {"base_latency_us": -1}})",
     "fabric.base_latency_us must be a number"},
    {"zero_rate", R"({"node": {"nics": [{"root_port": 0, "each_way_gbytes_per_s": 0}]}})",
     "node.nics[0].each_way_gbytes_per_s must be more than 0"},
    {"no_port", R"({"node": {"nics": [{"root_port": 3, "each_way_gbytes_per_s": 1}]}})",
     "node.nics[0].root_port: there is no root port 3"},
    {"no_socket", R"({"node": {"root_ports": [{"socket": 1, "each_way_gbytes_per_s": 1}]}})",
     "node.root_ports[0].socket: there is no socket 1"},
    {"no_gpu", R"({"node": {"gpu_groups": [[0, 4]], "gpu_group_gbytes_per_s": 1}})",
     "there is no GPU 4"},
    {"no_rank", R"({"node": {"ranks_per_gpu": 0}})", "node.ranks_per_gpu must be at least 1"},
    {"shared_groups",
     R"({"node": {"ranks_per_gpu": 2, "gpu_groups": [[0, 1]], "gpu_group_gbytes_per_s": 1,
         "gpus": [{"root_port": 0, "each_way_gbytes_per_s": 9, "memory_gbytes_per_s": 9},
                  {"root_port": 0, "each_way_gbytes_per_s": 9, "memory_gbytes_per_s": 9}]}})",
     "node.gpu_groups: not with ranks_per_gpu"},
    {"no_nic", R"({"node": {"nics": []}})", "node.nics: at least one is needed"},
    {"no_leaf", R"({"fabric": {"spines": 2}})", "fabric.nodes_per_leaf is missing"},
    {"sockets", R"({"node": {"sockets": []}})", "node.sockets: one or two"},
    {"fraction", R"({"nodes": 1.5})", "nodes must be a whole number"},
    {"tiny_rate", R"({"node": {"nics": [{"root_port": 0, "each_way_gbytes_per_s": 1e-9}]}})",
     "node.nics[0].each_way_gbytes_per_s must be at least"},
    {"huge_gpu", R"({"node": {"gpu_groups": [[0, 4294967297]], "gpu_group_gbytes_per_s": 1}})",
     "must be an array of arrays of GPU numbers"},
    {"one_machine_with_spines",
     R"({"one_machine": true,
         "fabric": {"spines": 2, "nodes_per_leaf": 1, "port_gbytes_per_s": 1}})",
     "with one_machine there is no network"},
};
INSTANTIATE_TEST_SUITE_P(SimCluster, SimClusterWrong, testing::ValuesIn(kWrong),
                         [](const auto& wrong) { return std::string(wrong.param.name); });

TEST(SimCluster, OneNodeNeedsNoNic) {
  json file = valid();
  file["nodes"] = 1;
  file["node"]["nics"] = json::array();
  file["node"]["ranks_per_gpu"] = 3;
  const auto cluster = hfr::tools::parse_cluster(file.dump());
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  EXPECT_EQ(cluster->node.num_ranks(), 3);
}

TEST(SimCluster, ANumberThatNoDoubleHolds) {
  const auto cluster = hfr::tools::parse_cluster(R"({"nodes": 1e400})");
  ASSERT_FALSE(cluster.ok());
}

TEST(SimCluster, NoJson) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "not JSON: parse error at line 1, column 2"},
      {"[]", "the file must be an object"},
      {R"({"name": "a", "nodes": 1, "node": {"nics": [], "nics": []}})", "nics stands twice"},
  };
  for (const auto& [text, sentence] : cases) {
    const auto cluster = hfr::tools::parse_cluster(text);
    ASSERT_FALSE(cluster.ok());
    EXPECT_THAT(cluster.status().message(), testing::StartsWith(sentence));
  }
  const auto folder = hfr::tools::read_cluster_file(HFREDUCE_CLUSTERS);
  ASSERT_FALSE(folder.ok());
  EXPECT_THAT(folder.status().message(), HasSubstr("cannot read"));
}

TEST(SimCluster, AMachineAsMeasuredIsValid) {
  hfr::Topology topology;
  topology.host = "a \"host\"";
  topology.usable_cpus = 6;
  topology.caches = {{1, 32 << 10, 4, 1}, {3, 16 << 20, 2, 2}};
  const hfr::tools::MachineRates rates{
      .core = {.copy = 10e9, .add = 20e9, .send = 3e9, .receive = 4e9},
      .cached = {.copy = 11e9, .add = 30e9, .send = 5e9, .receive = 6e9},
      .latency_us = 12.5,
      .memory = 50e9};
  const auto cluster =
      hfr::tools::parse_cluster(hfr::tools::machine_cluster_text(topology, rates, 3, 2));
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  EXPECT_EQ(cluster->nodes, 3);
  EXPECT_TRUE(cluster->one_machine);
  EXPECT_EQ(cluster->node.num_ranks(), 2);
  EXPECT_EQ(cluster->node.host.cores, 6);
  EXPECT_EQ(cluster->node.host.rates.receive, 4e9);
  ASSERT_TRUE(cluster->node.host.cached.has_value());
  EXPECT_EQ(cluster->node.host.cached->add, 30e9);
  EXPECT_EQ(cluster->node.sockets[0].cache_bytes, 32u << 20);
  EXPECT_EQ(cluster->fabric.base_latency_us, 12.5);
}

TEST(SimCluster, EveryShippedFileIsValid) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(HFREDUCE_CLUSTERS)) {
    const auto cluster = hfr::tools::read_cluster_file(entry.path());
    EXPECT_TRUE(cluster.ok()) << cluster.status().message();
    ++files;
  }
  EXPECT_GE(files, 8u);
}

}  // namespace
}  // namespace hfr_tests
