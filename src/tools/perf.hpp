// `hfreduce perf`: times all-reduces and prints the table that nccl-tests' users know.
#pragma once

#include <string>
#include <vector>

#include "tools/perf_values.hpp"

namespace hfr::tools {

struct PerfOptions {
  size_t min_bytes = size_t{32} << 20;
  size_t max_bytes = size_t{32} << 20;
  size_t step_bytes = size_t{1} << 20;
  double factor = 0;  // more than 1: sizes grow by it
  std::vector<hfr_op_t> ops = {HFR_SUM};
  std::vector<hfr_dtype_t> types = {HFR_FLOAT32};
  int iterations = 20;
  int warmups = 5;
  int aggregate = 1;  // operations in flight per iteration
  bool check = true;
  bool blocking =
      true;  // false: the iterations are started one after the other and waited for together
  bool registered = false;  // buffers from hfr_mem_alloc
  int average = 1;          // over ranks: 0 rank 0's time, 1 mean, 2 least, 3 most
  std::string json_file;
  std::string command_line;
};

// Runs as the rank that `comm` is. Rank 0 prints. Returns the process' exit status: 1 when values
// were wrong or a call failed.
int run_perf(hfr_comm_t comm, const PerfOptions& options);

// As num_threads ranks of this process.
int run_perf_threads(int num_threads, const PerfOptions& options);

}  // namespace hfr::tools
