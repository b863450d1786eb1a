// Wakes: how simulated ports tell the world that something came, so that only those look who have
// something to see.
#pragma once

#include "base/counter.hpp"
#include "sim/time.hpp"

namespace hfr::sim {

class Wakes {
 public:
  virtual ~Wakes() = default;
  // The rank takes a turn once this instant's events are over.
  virtual void wake(int rank) = 0;
  // A device of the rank has advanced a counter of its node's staging.
  virtual void counter_moved(int rank, const Counter& counter) = 0;
  // The rank's thread has work until then.
  virtual void keep_busy(int rank, SimTime duration) = 0;
  virtual SimTime busy_until(int rank) const = 0;
  // The rank's transport has lost a peer.
  virtual void peer_lost(int rank) = 0;
};

// Where a port belongs.
struct Place {
  int rank = 0;
  int node = 0;
  int local_rank = 0;
};

}  // namespace hfr::sim
