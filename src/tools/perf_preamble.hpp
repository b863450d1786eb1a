// What `hfreduce perf` prints before its table: the options, and who takes part. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/perf.hpp"

namespace hfr::tools {

// One rank. Ranks send theirs to rank 0, so it is plain bytes; texts end with a 0.
struct Participant {
  int32_t node = 0;
  int32_t pid = 0;
  char host[56] = {};
  char device[64] = {};
};

// Lines with their newlines. `version` is HFR_VERSION's number.
std::string preamble(const PerfOptions& options, int version, int num_nodes,
                     const std::vector<Participant>& ranks);

}  // namespace hfr::tools
