// Ranges: stretches of time, for a profiler that is attached to this process.
//
// Threads: any. Nothing blocks, allocates or throws.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hfr {

class Ranges {
 public:
  // kOperation: from its announcement to its completion. kAdd: a chunk, on the CPU.
  enum class Kind : uint8_t { kOperation, kAdd };
  virtual ~Ranges() = default;
  // Never 0. May be ended by another thread.
  virtual uint64_t begin(Kind kind, size_t bytes) = 0;
  virtual void end(uint64_t range) = 0;
};

}  // namespace hfr
