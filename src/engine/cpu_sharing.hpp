// CpuSharing: whether ranks of a node wait on the same CPU. Even where there is one for each, the
// kernel may put two of them on one for a while, most of all just after they have started; then who
// spins holds up the rank that it waits for.
//
// A rank tells where it waits each time that a wait is no short one. So the word of a rank that is
// not running says where it will; what is old at worst makes somebody yield who need not.
//
// Threads: any; whichever drives its rank's engine tells of itself.
#pragma once

#include <sched.h>

#include "engine/staging.hpp"

namespace hfr {

class CpuSharing {
 public:
  CpuSharing(const Staging& staging, int me) : staging_(staging), me_(me) {}

  // Tells where the calling thread is. True: that is where another rank last waited.
  bool look() const {
    const uint64_t here = static_cast<uint64_t>(sched_getcpu() + 1);  // 0: the kernel does not say
    std::atomic<uint64_t>& mine = staging_.cpu(me_).value;
    if (mine.load(std::memory_order_relaxed) != here) mine.store(here, std::memory_order_relaxed);
    if (here == 0) return false;
    for (int r = 0; r < staging_.shape().num_local; ++r) {
      if (r != me_ && staging_.cpu(r).value.load(std::memory_order_relaxed) == here) return true;
    }
    return false;
  }

 private:
  const Staging staging_;
  const int me_;
};

}  // namespace hfr
