// `hfreduce perf`: times all-reduces, through the public interface only, and prints the table that
// nccl-tests' users know.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

enum class Average { kRank0 = 0, kMean = 1, kLeast = 2, kMost = 3 };

struct PerfOptions {
  size_t min_bytes = size_t{32} << 20;
  size_t max_bytes = size_t{32} << 20;
  size_t step_bytes = size_t{1} << 20;
  double factor = 1;  // more than 1: sizes grow by it
  std::vector<hfr_op_t> ops = {HFR_SUM};
  std::vector<hfr_dtype_t> types = {HFR_FLOAT32};
  int iterations = 20;
  int warmups = 5;
  int checks = 1;           // checked operations per measurement
  int aggregate = 1;        // operations in flight together per iteration, on buffers of their own
  bool blocking = true;     // false: all iterations are put on a stream, then waited for
  bool registered = false;  // buffers from hfr_mem_alloc
  hfr_device_t device = HFR_DEVICE_HOST;
  int graph_launches = 0;  // more than 0: the iterations are one CUDA graph, launched so many times
  Average average = Average::kMean;  // of the ranks' times
  int threads =
      1;  // nccl-tests' -t and -g, for the header; their product is the ranks of a process
  int per_thread = 1;
  std::string json_file;
  std::string command_line;

  int ranks_per_process() const { return threads * per_thread; }
};

// Runs the ranks of this process, each a thread. With `launched` the processes of a job meet
// through hfr_comm_init_env, else this process is the whole job. Rank 0 prints. Returns the
// process' exit status: 1 when values were wrong or a call failed, which standard error then tells.
int run_perf(const PerfOptions& options, bool launched);

}  // namespace hfr::tools
