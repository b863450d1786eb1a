// `hfreduce doctor net` as a process, on whatever machine this is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "command.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

nlohmann::json doctor(std::vector<std::string> more, const CommandOptions& options = {}) {
  std::vector<std::string> arguments = {"doctor", "net", "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Finished run = run_command(std::move(arguments), options);
  EXPECT_EQ(run.error, "");
  const auto json = nlohmann::json::parse(run.output, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << run.output;
  EXPECT_EQ(run.status, json.value("healthy", false) ? 0 : 1);
  return json;
}

bool has_device() {
  std::error_code error;
  return !std::filesystem::is_empty("/sys/class/infiniband", error) && !error;
}

TEST(DoctorCommand, LooksAtTheMachine) {
  // It is host memory that is looked at, whatever jobs are told.
  const Finished run =
      run_command({"doctor", "--json"}, {.environment = {{"HFREDUCE_DEVICE", "cuda"}}});
  EXPECT_EQ(run.error, "");
  const auto json = nlohmann::json::parse(run.output, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << run.output;
  EXPECT_EQ(run.status, json.value("healthy", false) ? 0 : 1);
  ASSERT_GT(json["numa_nodes"].size(), 0u);
  for (const auto& node : json["numa_nodes"]) {
    EXPECT_GT(node["memory_bytes_per_s"], 0);
    EXPECT_EQ(node["add_bytes_per_s"].size(), node["cpus"].size());
  }
  bool all_reduced = false, asked_gpus = false;
  for (const auto& finding : json["findings"]) {
    if (finding["name"] == "GPU copies") {
      asked_gpus = true;
      EXPECT_EQ(finding["verdict"] == "skipped", json["gpus"].empty()) << finding;
      EXPECT_NE(finding["text"], "");
    }
    if (finding["name"] != "all-reduce") continue;
    all_reduced = true;
    EXPECT_EQ(finding["verdict"], "ok") << finding;
  }
  EXPECT_TRUE(all_reduced);
  EXPECT_TRUE(asked_gpus);
  for (const auto& gpu : json["gpus"]) {
    EXPECT_GT(gpu["to_host_bytes_per_s"], 0) << gpu;
    EXPECT_GT(gpu["to_device_bytes_per_s"], 0) << gpu;
    EXPECT_GT(gpu["both_ways_bytes_per_s"], 0) << gpu;
  }
}

TEST(DoctorCommand, TellsInWordsWithoutMeasuring) {
  const Finished run = run_command({"doctor", "--no-measure"});
  EXPECT_THAT(run.output, HasSubstr("skipped  memory         not measured"));
  EXPECT_THAT(run.output, HasSubstr(run.status == 0 ? "nothing is wrong" : "WRONG"));
}

TEST(DoctorNetCommand, MeasuresTcpInterfaces) {
  const auto json = doctor({}, {.environment = {{"HFREDUCE_TRANSPORT", "tcp"}}});
  EXPECT_EQ(json["transport"], "tcp");
  int measured = 0;
  for (const auto& link : json["links"]) {
    if (link["kind"] != "tcp" || link["up"] != true) continue;
    ++measured;
    ASSERT_TRUE(link["speed"].is_object()) << link;
    EXPECT_GT(link["speed"]["put_mbytes_per_s"], 0);
    EXPECT_GT(link["speed"]["half_round_trip_us"], 0);
  }
  EXPECT_GT(measured, 0) << "not even loopback: " << json;
}

TEST(DoctorNetCommand, ChoosesTcpWithoutADevice) {
  if (has_device()) GTEST_SKIP() << "this machine has a verbs device";
  const auto json = doctor({"--no-measure"});
  EXPECT_EQ(json["transport"], "tcp");
  EXPECT_NE(json["why"], "");
  for (const auto& link : json["links"]) {
    EXPECT_EQ(link["kind"], "tcp");
    EXPECT_TRUE(link["speed"].is_null());
  }
}

TEST(DoctorNetCommand, MeasuresPorts) {
  if (!has_device()) GTEST_SKIP() << "this machine has no verbs device";
  const auto json = doctor({});
  EXPECT_EQ(json["transport"], "verbs");
  int measured = 0;
  for (const auto& link : json["links"]) {
    if (link["kind"] != "verbs" || link["up"] != true) continue;
    ++measured;
    EXPECT_EQ(link["used"], true) << link;
    ASSERT_TRUE(link["speed"].is_object()) << link;
    EXPECT_GT(link["speed"]["put_mbytes_per_s"], 0);
    EXPECT_GT(link["addresses"].size(), 0u);
  }
  EXPECT_GT(measured, 0) << json;
}

TEST(DoctorNetCommand, TextEndsWithAVerdict) {
  const Finished run = run_command({"doctor", "net", "--no-measure"});
  EXPECT_THAT(run.output, HasSubstr("transport  "));
  EXPECT_THAT(run.output, HasSubstr(run.status == 0 ? "nothing is wrong" : "WRONG"));
}

TEST(DoctorNetCommand, BadSettingsAreSaid) {
  const Finished run = run_command({"doctor", "net", "--no-measure"},
                                   {.environment = {{"HFREDUCE_TRANSPORT", "pigeon"}}});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.error, HasSubstr("HFREDUCE_TRANSPORT"));
}

}  // namespace
}  // namespace hfr_tests
