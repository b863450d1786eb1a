// `hfreduce perf --device cuda`: with a GPU what it prints, without one what it says.
#include <gmock/gmock.h>

#include "../gpu/gpu.hpp"
#include "command.hpp"

namespace hfr_tests {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

Finished perf(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"perf", "--device", "cuda", "-n", "3", "-w", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_command(arguments);
}

void expect_all_right(const std::vector<std::string>& more, const char* ranks) {
  Finished run = perf(more);
  EXPECT_EQ(run.status, 0) << run.error << run.output;
  EXPECT_THAT(run.output, HasSubstr(ranks));
  EXPECT_THAT(run.output, HasSubstr("device: cuda"));
  EXPECT_THAT(run.output, HasSubstr("# Out of bounds values : 0 OK"));
}

TEST(PerfCuda, WithoutAGpuItSaysSo) {
  if (Cuda::get().missing.empty()) GTEST_SKIP() << "there is a GPU";
  for (const std::vector<std::string>& shape :
       std::vector<std::vector<std::string>>{{"-t", "2"}, {"--nodes", "2", "-t", "2"}}) {
    Finished run = perf(shape);
    EXPECT_EQ(run.status, 1);
    EXPECT_THAT(run.error, AnyOf(HasSubstr("there is no CUDA driver"), HasSubstr("no usable GPU")));
  }
}

TEST(PerfCuda, ThreadsShareTheGpu) {
  HFR_NEED_GPU();
  expect_all_right({"-t", "2", "-b", "8", "-e", "8M", "-f", "1024"}, "Using 2 ranks on 1 node");
  expect_all_right({"-g", "3", "-b", "1M", "-z", "1", "-m", "2"}, "Using 3 ranks on 1 node");
  expect_all_right({"-t", "2", "-b", "1M", "-R", "1"}, "buffers: hfr_mem_alloc");
}

TEST(PerfCuda, ProcessesShareTheGpu) {
  HFR_NEED_GPU();
  expect_all_right({"--ranks-per-node", "3", "-b", "8", "-e", "8M", "-f", "1024"},
                   "Using 3 ranks on 1 node");
  expect_all_right({"--nodes", "2", "--ranks-per-node", "2", "-b", "1M"},
                   "Using 4 ranks on 2 nodes");
  expect_all_right({"--nodes", "2", "-t", "2", "-b", "1M", "-m", "3"}, "Using 4 ranks on 2 nodes");
}

TEST(PerfCuda, GraphsAreCapturedAndLaunched) {
  HFR_NEED_GPU();
  const std::vector<std::string> ways = {
      "--ranks-per-node", "2", "-G", "2", "-m", "2", "-b", "8", "-e", "1M", "-f", "512"};
  expect_all_right(ways, "Using 2 ranks on 1 node");
}

TEST(PerfCuda, EveryTypeAndOperation) {
  HFR_NEED_GPU();
  expect_all_right({"-t", "3", "-b", "70000", "-e", "70000", "-d", "all", "-o", "all"},
                   "Using 3 ranks on 1 node");
}

}  // namespace
}  // namespace hfr_tests
