// Who am I, by the word of whatever launched this process.
#pragma once

#include <string>

#include "base/config.hpp"
#include "base/status.hpp"

namespace hfr {

struct LaunchInfo {
  int rank = 0;
  int num_ranks = 1;
  std::string source;  // "RANK and WORLD_SIZE"
};

// The first family that is there counts: RANK and WORLD_SIZE (torchrun, `hfreduce run`), Open
// MPI's, MPICH's (PMI), Slurm's. Half a family, or a value that is no rank, is an error that names
// variable, value and what is allowed.
Result<LaunchInfo> read_launch_info(const Environment& environment);

}  // namespace hfr
