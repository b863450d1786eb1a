// Faults: what breaks in a simulated run, and when. docs/simulator.md says what each kind does.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/status.hpp"
#include "sim/time.hpp"

namespace hfr::sim {

enum class FaultKind : uint8_t {
  kKill,     // a rank's process ends: its system closes its connections
  kStop,     // a rank's process stands still: nobody is told
  kSlow,     // a rank's link to its host, or its thread, gives a part of its rate
  kLose,     // a node is without power: nobody is told
  kCut,      // a node's network between owners; the control plane has another
  kIsolate,  // all of a node's networks
};
constexpr int kNumFaultKinds = 6;
const char* fault_name(FaultKind kind);
// The fault is a rank's; else a node's.
bool hits_rank(FaultKind kind);
// It ends, where `until` says so.
bool can_end(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kKill;
  int where = 0;           // rank or node
  SimTime at = 0;          // from the beginning of the run
  SimTime until = kNever;  // likewise
  double factor = 1;       // kSlow: how many times slower
};

// "kill rank 17 at 2000 us", "cut node 3 at 2000 us until 4000 us"
std::string fault_text(const Fault& fault);
Status check_faults(std::span<const Fault> faults, int num_nodes, int num_ranks);

}  // namespace hfr::sim
