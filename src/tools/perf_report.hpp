// What `hfreduce perf` prints and writes: nccl-tests' table, and JSON. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

struct Measurement {
  double seconds = 0;             // of one operation
  std::optional<uint64_t> wrong;  // elements, over all ranks; nothing when unchecked
};

struct PerfRow {
  size_t bytes = 0;
  size_t count = 0;
  hfr_dtype_t type = HFR_FLOAT32;
  hfr_op_t op = HFR_SUM;
  Measurement out_of_place;
  Measurement in_place;
};

struct PerfSummary {
  uint64_t wrong = 0;
  double bus_bandwidth = 0;  // mean over all measurements
};
PerfSummary summarize(const std::vector<PerfRow>& rows, int num_ranks);

// Lines with their newlines. All-reduce has no root, which nccl-tests shows as -1.
std::string table_header();
std::string table_row(const PerfRow& row, int num_ranks);
std::string table_footer(const PerfSummary& summary);

struct PerfJob {
  int num_ranks = 1;
  int num_nodes = 1;
  std::string command;
};
// {"results": [{"size", "count", "type", "redop", "root", "out_of_place": {"time_us", "algbw",
// "busbw", "wrong"}, "in_place": {...}}], ...}; "wrong" is null when unchecked.
std::string json_document(const std::vector<PerfRow>& rows, const PerfJob& job);

}  // namespace hfr::tools
