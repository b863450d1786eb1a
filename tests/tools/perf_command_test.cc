#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "command.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

Finished perf(std::vector<std::string> arguments, const CommandOptions& options = {}) {
  arguments.insert(arguments.begin(), "perf");
  return run_command(std::move(arguments), options);
}

size_t count_rows(const std::string& output) {
  size_t rows = 0;
  for (const std::string& line : sorted_lines(output))
    rows += !line.empty() && line[0] != '#' ? 1 : 0;
  return rows;
}

class PerfFile : public testing::Test {
 protected:
  PerfFile() : path_(hfr::cat(testing::TempDir(), "hfreduce_perf_", getpid(), ".json")) {}
  ~PerfFile() override { std::remove(path_.c_str()); }
  std::string path_;
};

TEST(PerfCommand, ThreadsOfOneProcess) {
  Finished run = perf({"-t", "3", "-b", "8", "-e", "32K", "-f", "8", "-n", "2", "-w", "1"});
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("Using 3 ranks on 1 node"));
  EXPECT_THAT(run.output, HasSubstr("# Out of bounds values : 0 OK"));
  EXPECT_EQ(count_rows(run.output), 5u);
  EXPECT_EQ(run.error, "") << "the bar is for terminals";
}

TEST(PerfCommand, TheLastOfAnOptionCounts) {
  Finished run = perf({"--nodes", "3", "--ranks-per-node=1", "-b", "1M", "-e", "1M", "-n", "2",
                       "-w", "0", "-b", "8", "--maxbytes", "8", "--nodes=2"});
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("Using 2 ranks on 2 nodes"));
  EXPECT_EQ(count_rows(run.output), 1u);
  run = perf({"-t", "2", "-n", "none", "-n", "2"});
  EXPECT_NE(run.status, 0) << "what is overridden is checked all the same";
}

TEST(PerfCommand, EveryTypeAndOperation) {
  Finished run = perf(
      {"-t", "3", "-b", "70000", "-e", "70000", "-n", "1", "-w", "0", "-d", "all", "-o", "all"});
  EXPECT_EQ(run.status, 0) << run.error << run.output;
  EXPECT_EQ(count_rows(run.output), 70u);
}

TEST(PerfCommand, EveryTypeAndOperationBetweenNodes) {
  Finished run = perf({"--nodes", "3", "--ranks-per-node=1", "-b", "70000", "-e", "70000", "-n",
                       "1", "-w", "0", "-d", "all", "-o", "all"});
  EXPECT_EQ(run.status, 0) << run.error << run.output;
  EXPECT_EQ(count_rows(run.output), 70u);
}

TEST(PerfCommand, NodesOfOneCommand) {
  Finished run = perf({"--nodes", "2", "--ranks-per-node", "2", "-b", "1M", "-n", "2", "-e", "1M"});
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("Using 4 ranks on 2 nodes"));
  EXPECT_EQ(count_rows(run.output), 1u) << "rank 0 alone prints";
}

TEST(PerfCommand, ThreadsOfLaunchedProcesses) {
  Finished run = perf({"--nodes", "2", "-t", "2", "-b", "4K", "-e", "4K", "-n", "2"});
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("Using 4 ranks on 2 nodes"));
}

TEST(PerfCommand, WaysToRun) {
  for (const std::vector<std::string>& way :
       std::vector<std::vector<std::string>>{{"-z", "0"},
                                             {"-z", "0", "-m", "3"},
                                             {"-m", "3"},
                                             {"-R", "1"},
                                             {"-g", "2", "-t", "1"},
                                             {"-a", "0"},
                                             {"-a", "2"},
                                             {"-a", "3"},
                                             {"-c", "3"},
                                             {"-r", "1"},
                                             {"-i", "1000", "-e", "6000"}}) {
    std::vector<std::string> arguments = {"-b", "4K", "-e", "4K", "-n", "3"};
    if (way[0] != "-g") arguments.insert(arguments.end(), {"-t", "2"});
    if (way[0] == "-i") arguments.erase(arguments.begin() + 2, arguments.begin() + 4);
    arguments.insert(arguments.end(), way.begin(), way.end());
    Finished run = perf(arguments);
    EXPECT_EQ(run.status, 0) << way[0] << ": " << run.error;
    EXPECT_THAT(run.output, HasSubstr("Using 2 ranks"));
    EXPECT_EQ(count_rows(run.output), way[0] == "-i" ? 2u : 1u);
  }
}

TEST(PerfCommand, NothingCheckedIsNotAvailable) {
  Finished run = perf({"-t", "2", "-b", "8", "-e", "8", "-c", "0"});
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(run.output, HasSubstr("N/A"));
}

TEST(PerfCommand, WrongValuesFail) {
  for (std::vector<std::string> shape :
       std::vector<std::vector<std::string>>{{"-t", "2"}, {"--nodes", "2"}}) {
    shape.insert(shape.end(), {"-b", "4K", "-e", "4K"});
    Finished run = perf(shape, {.environment = {{"LD_PRELOAD", HFREDUCE_SPOILER},
                                                {"ASAN_OPTIONS", "verify_asan_link_order=0"}}});
    EXPECT_EQ(run.status, 1) << run.error;
    EXPECT_THAT(run.output, HasSubstr("# Out of bounds values : 2 FAILED"));
  }
}

TEST_F(PerfFile, WritesJson) {
  Finished run = perf(
      {"-t", "2", "-b", "8", "-e", "64", "-f", "8", "-o", "max", "-d", "half", "--json", path_});
  ASSERT_EQ(run.status, 0) << run.error;
  std::ifstream file(path_);
  nlohmann::json document = nlohmann::json::parse(file);
  ASSERT_EQ(document["results"].size(), 2u);
  const nlohmann::json& row = document["results"][1];
  EXPECT_EQ(row["size"], 64);
  EXPECT_EQ(row["count"], 32);
  EXPECT_EQ(row["type"], "half");
  EXPECT_EQ(row["redop"], "max");
  EXPECT_EQ(row["root"], -1);
  for (const char* place : {"out_of_place", "in_place"}) {
    EXPECT_GT(row[place]["time_us"].get<double>(), 0);
    EXPECT_TRUE(row[place]["algbw"].is_number());
    EXPECT_TRUE(row[place]["busbw"].is_number());
    EXPECT_EQ(row[place]["wrong"], 0);
  }
}

TEST(PerfCommand, RefusesWithASentence) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> kCases = {
      {{"-G", "1"}, "a CUDA graph needs a CUDA device"},
      {{"-G", "1", "--device", "cuda", "-z", "1"}, "-G launches what is on a stream"},
      {{"--device", "tpu"}, "tpu not in {host,cuda}"},
      {{"-d", "int128"}, "int128 is no type"},
      {{"-o", "xor"}, "xor is no operation"},
      {{"-b", "2K", "-e", "1K"}, "-b 2048 is more than -e 1024"},
      {{"-i", "0"}, "-i 0 leads nowhere"},
      {{"-b", "many"}, "'many' is not a number of bytes"},
      {{"-t", "2", "-b", "8", "-e", "8", "-J", "/nowhere/file"}, "cannot write /nowhere/file"}};
  for (const auto& [arguments, sentence] : kCases) {
    Finished run = perf(arguments);
    EXPECT_NE(run.status, 0);
    EXPECT_THAT(run.error + run.output, HasSubstr(sentence));
  }
}

// What the command is told goes before what the library would take from its environment.
TEST(PerfCommand, HostMemoryWhateverTheEnvironmentSays) {
  for (const std::vector<std::string>& shape : std::vector<std::vector<std::string>>{
           {"-t", "2"}, {"--nodes", "2"}, {"--nodes", "2", "-t", "2"}}) {
    std::vector<std::string> arguments = shape;
    arguments.insert(arguments.end(), {"-b", "8", "-e", "8"});
    Finished run = perf(arguments, {.environment = {{"HFREDUCE_DEVICE", "cuda"}}});
    EXPECT_EQ(run.status, 0) << run.error;
    EXPECT_THAT(run.output, HasSubstr("device: host buffers: private"));
  }
}

TEST(PerfCommand, HalfALauncherIsAnError) {
  Finished run = perf({"-b", "8", "-e", "8"}, {.environment = {{"RANK", "0"}}});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.error, HasSubstr("WORLD_SIZE"));
}

}  // namespace
}  // namespace hfr_tests
