// `hfreduce sim`: what a cluster would reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hfr::tools {

struct SimOptions {
  std::string cluster_file;
  std::string gpus;
  size_t bytes = size_t{186} << 20;
  int tensors = 1;
  uint64_t scatter_seed = 0;
  std::vector<std::string> faults;
  uint64_t fault_seed = 1;
  std::string json_file;
  std::string svg_file;
  std::string trace_file;
  int trace_ranks = 16;
};

// Prints, and writes the files. Returns the exit status.
int simulate_cluster(const SimOptions& options);

}  // namespace hfr::tools
