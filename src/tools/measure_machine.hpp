// What this machine's cores and memory give, for a cluster file of it (docs/simulator.md). Takes
// about two seconds.
#pragma once

#include <string>
#include <vector>

#include "base/status.hpp"

namespace hfr::tools {

// Bytes per second; of one core while all are at work, but for the memory.
struct MachineRates {
  double copy = 0;        // between memory and a piece of staging
  double add = 0;         // inputs, of two that are summed
  double send = 0;        // of a put over loopback TCP, by who sends; receiving comes beside it
  double receive = 0;     // likewise
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
