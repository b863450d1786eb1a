// `hfreduce sim` as a process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "command.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

const std::string kCluster = HFREDUCE_CLUSTERS "/fire-flyer-2.json";

class SimCommand : public testing::Test {
 protected:
  SimCommand()
      : folder_(std::filesystem::temp_directory_path() / ("sim." + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~SimCommand() override { std::filesystem::remove_all(folder_); }

  std::string path(const char* name) const { return folder_ / name; }
  std::string content(const char* name) const {
    std::ifstream file(path(name));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(SimCommand, PrintsATableAndWritesTheSameEachTime) {
  const std::vector<std::string> arguments = {
      "sim",       "--cluster", kCluster, "--gpus",         "16..32", "--size",       "4M",
      "--scatter", "7",         "--json", path("out.json"), "--svg",  path("out.svg")};
  const Finished first = run_command(arguments);
  ASSERT_EQ(first.status, 0) << first.error;
  EXPECT_THAT(first.output, HasSubstr("algbw"));
  const std::string text = content("out.json");
  const auto json = nlohmann::json::parse(text, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << text;
  ASSERT_EQ(json["results"].size(), 2u);
  EXPECT_EQ(json["results"][0]["gpus"], 16);
  EXPECT_EQ(json["results"][1]["gpus"], 32);
  EXPECT_EQ(json["results"][0]["size"], 4 << 20);
  for (const auto& point : json["results"]) EXPECT_GT(point["algbw"], 0) << point;
  const std::string plot = content("out.svg");
  EXPECT_THAT(plot, HasSubstr("<svg"));

  const Finished second = run_command(arguments);
  EXPECT_EQ(second.output, first.output);
  EXPECT_EQ(content("out.json"), text);
  EXPECT_EQ(content("out.svg"), plot);
}

TEST_F(SimCommand, TheTraceIsJson) {
  const Finished run = run_command({"sim", "--cluster", kCluster, "--gpus", "16", "--size", "4M",
                                    "--trace", path("trace.json"), "--trace-ranks", "8"});
  ASSERT_EQ(run.status, 0) << run.error;
  const auto events = nlohmann::json::parse(content("trace.json"), nullptr, false);
  ASSERT_FALSE(events.is_discarded());
  int copies = 0;
  for (const auto& event : events) {
    EXPECT_LT(event["pid"], 8);
    if (event["ph"] == "X") ++copies;
  }
  EXPECT_GT(copies, 0);
}

TEST_F(SimCommand, FaultsAreTheSeeds) {
  const auto run = [](const char* seed) {
    return run_command({"sim", "--cluster", kCluster, "--gpus", "64", "--size", "4M", "--fault",
                        "lose:any@any", "--fault", "cut:any@any+1ms", "--seed", seed});
  };
  const Finished first = run("5");
  ASSERT_EQ(first.status, 0) << first.error;
  EXPECT_THAT(first.output, HasSubstr("lose node"));
  EXPECT_THAT(first.output, HasSubstr("failed"));
  EXPECT_EQ(run("5").output, first.output);
  EXPECT_NE(run("6").output, first.output);
}

TEST_F(SimCommand, BadInputIsRefusedInWords) {
  const auto refused = [](std::vector<std::string> more, const char* word) {
    std::vector<std::string> arguments = {"sim", "--size", "1M"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished run = run_command(std::move(arguments));
    EXPECT_EQ(run.status, 2) << run.output;
    EXPECT_THAT(run.error, HasSubstr(word));
  };
  refused({"--cluster", path("missing.json"), "--gpus", "16"}, "missing.json");
  std::ofstream(path("bad.json")) << R"({"name": "x", "nodes": 0})";
  refused({"--cluster", path("bad.json"), "--gpus", "16"}, "bad.json");
  refused({"--cluster", kCluster, "--gpus", "many"}, "many");
  refused({"--cluster", kCluster, "--gpus", "1000000"}, "1000000");
  refused({"--cluster", kCluster, "--gpus", "16", "--fault", "cut:7@0"}, "only 2 nodes");
  refused({"--cluster", kCluster, "--gpus", "16", "--fault", "melt:7@0"}, "--fault melt:7@0");
  refused({"--cluster", kCluster, "--gpus", "16,32", "--trace", path("t.json")}, "--trace");
  EXPECT_FALSE(std::filesystem::exists(path("t.json")));
}

TEST_F(SimCommand, AFileThatCannotBeWrittenIsAnError) {
  const Finished run = run_command({"sim", "--cluster", kCluster, "--gpus", "8", "--size", "1M",
                                    "--json", path("no/such/folder.json")});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.error, HasSubstr("folder.json"));
}

}  // namespace
}  // namespace hfr_tests
