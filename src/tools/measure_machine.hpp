// What this machine's cores and memory give, for a cluster file of it (docs/simulator.md). Takes
// about two seconds.
#pragma once

#include <string>

#include "base/status.hpp"

namespace hfr::tools {

// Bytes per second; of one core but for the memory.
struct MachineRates {
  double copy = 0;        // from memory into a piece of staging
  double add = 0;         // inputs, of two that are summed in the cache
  double send = 0;        // per second of the sending thread's time, over loopback TCP
  double receive = 0;     // likewise
  double latency_us = 0;  // of a small message over loopback TCP, one way
  double memory = 0;      // reads and writes of all cores together
};

Result<MachineRates> measure_machine(int num_threads);

}  // namespace hfr::tools
