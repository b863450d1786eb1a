// Clock: monotonic time for deadlines and traces. The simulator has its own.
#pragma once

#include <cstdint>

namespace hfr {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic. Any thread.
  virtual uint64_t now_ns() const = 0;
};

}  // namespace hfr
