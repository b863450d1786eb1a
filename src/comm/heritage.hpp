// Heritage: what of a communicator outlives its resources. What is made of it has it from there: a
// child by splitting or shrinking, and the communicator itself when it is resumed
// (docs/recovery.md, docs/suspend.md).
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/cancel.hpp"
#include "comm/setup.hpp"

namespace hfr {

class Communicator;

struct Heritage {
  Config config;
  Line line;
  // By rank, what each is called in its line (bootstrap/line.hpp).
  std::vector<int> first_ranks;
  void* cuda_context = nullptr;
  int cuda_ordinal = -1;
  CommMetrics metrics;

  // What all that is made of it has; `kind` tells its trace from others.
  JoinSpec spec(const std::string& kind) const;
};

struct ShrinkCall {
  std::vector<int> excluded;  // ranks of the communicator
  uint64_t end_ns = 0;
  const CancelFlag* cancel = nullptr;
  Logger logger;
};

// The survivors' communicator. `heritage.line` moves on, also where it fails: then the call may be
// repeated.
Result<std::shared_ptr<Communicator>> shrink(Heritage& heritage, const ShrinkCall& call);

// All of its ranks, as they were. Likewise.
Result<std::shared_ptr<Communicator>> resume(Heritage& heritage, const CancelFlag& cancel);

}  // namespace hfr
