// What this machine's cores and memory give, for a cluster file of it (docs/simulator.md). Takes
// some four seconds.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"
#include "sim/cluster.hpp"

namespace hfr::tools {

// Bytes per second.
struct MachineRates {
  // Of one core while all are at work. Copies are between a user's buffer and a piece of staging,
  // sums of two inputs, puts over loopback TCP, both ways at once.
  sim::CoreRates core;    // buffers lie in memory
  sim::CoreRates cached;  // buffers of 1 MiB, which stay in the caches
  double latency_us = 0;  // of a small message over loopback TCP, one way
  double memory = 0;      // reads and writes of all cores together
};

// By as many threads as there are CPUs to use.
Result<MachineRates> measure_machine(int num_threads);

// For each thread that is to run, the CPUs that it is bound to; empty: wherever the system lets it.
using ThreadCpus = std::vector<std::vector<int>>;
// Bytes per second of each, all at work at once, for a third of a second: inputs of adds as above,
// and reads and writes of memory that lies where the thread runs.
Result<std::vector<double>> add_rates(const ThreadCpus& threads);
std::vector<double> memory_rates(const ThreadCpus& threads);

}  // namespace hfr::tools
