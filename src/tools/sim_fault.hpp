// Faults of `hfreduce sim`: what the command line says of them, and what is left to the seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "sim/faults.hpp"

namespace hfr::tools {

struct FaultSpec {
  sim::FaultKind kind = sim::FaultKind::kKill;
  std::optional<int> where;        // else: anywhere
  std::optional<sim::SimTime> at;  // else: anywhere in the time of a run without faults
  sim::SimTime lasts = sim::kNever;
  double factor = 1;
};

// "kill:17@2ms", "cut:any@any+500us", "slow*4:17@0": KIND[*FACTOR]:WHERE@TIME[+DURATION].
Result<FaultSpec> parse_fault(const std::string& text);

// Takes from the seed what the specs leave open. `span`: of a run without faults.
std::vector<sim::Fault> place_faults(const std::vector<FaultSpec>& specs, uint64_t seed,
                                     int num_nodes, int num_ranks, sim::SimTime span);

}  // namespace hfr::tools
