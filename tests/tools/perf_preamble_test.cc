#include "tools/perf_preamble.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace hfr::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

Participant participant(const char* host, const char* device, int node = 0) {
  Participant who;
  who.node = node;
  who.pid = 42;
  std::strcpy(who.host, host);
  std::strcpy(who.device, device);
  return who;
}

TEST(PerfPreamble, TellsTheOptionsAndEveryRank) {
  PerfOptions options;
  options.threads = 2;
  options.factor = 4;
  const std::string text =
      preamble(options, 102, 2, {participant("a", "host"), participant("b", "host", 1)});
  EXPECT_THAT(text, HasSubstr("# hfreduce perf version 0.1.2, all_reduce\n# nThread 2 nGpus 1 "));
  EXPECT_THAT(text, HasSubstr(" step: 4(factor) warmup iters: 5 iters: 20 "));
  EXPECT_THAT(text, HasSubstr(" graph: 0 blocking: 1 device: host buffers: private\n#\n"));
  EXPECT_THAT(text, HasSubstr("# Using 2 ranks on 2 nodes\n"
                              "#  Rank   0 Node   0 Pid      42 on a device host\n"
                              "#  Rank   1 Node   1 Pid      42 on b device host\n"));
}

TEST(PerfPreamble, SaysWhenRanksShareAGpu) {
  PerfOptions options;
  options.device = HFR_DEVICE_CUDA;
  options.graph_launches = 3;
  options.blocking = false;
  const std::string shared =
      preamble(options, 100, 1, {participant("a", "0 [5e] X"), participant("a", "0 [5e] X")});
  EXPECT_THAT(shared, HasSubstr(" graph: 3 blocking: 0 device: cuda buffers: cuMemAlloc\n"));
  EXPECT_THAT(shared, HasSubstr("# Using 2 ranks on 1 node and 1 GPU, shared: device = local rank "
                                "mod devices\n"));
  EXPECT_THAT(shared, HasSubstr(" on a device 0 [5e] X\n"));
  // The same place on two machines is two GPUs.
  const std::string apart =
      preamble(options, 100, 2, {participant("a", "0 [5e] X"), participant("b", "0 [5e] X", 1)});
  EXPECT_THAT(apart, HasSubstr("# Using 2 ranks on 2 nodes and 2 GPUs\n"));
}

TEST(PerfPreamble, NamesRegisteredBuffers) {
  PerfOptions options;
  options.registered = true;
  EXPECT_THAT(preamble(options, 100, 1, {participant("a", "host")}),
              HasSubstr("buffers: hfr_mem_alloc\n#\n# Using 1 rank on 1 node\n"));
}

}  // namespace
}  // namespace hfr::tools
