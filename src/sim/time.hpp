// Virtual time, in picoseconds, and the clock that shows it to the engine.
#pragma once

#include <cstdint>

#include "ports/clock.hpp"

namespace hfr::sim {

using SimTime = uint64_t;
constexpr SimTime kNever = UINT64_MAX;
constexpr double kPsPerSecond = 1e12;
constexpr SimTime kPsPerNs = 1000;
constexpr SimTime kPsPerUs = 1'000'000;

inline double seconds(SimTime time) { return static_cast<double>(time) / kPsPerSecond; }
inline SimTime from_us(double us) { return static_cast<SimTime>(us * 1e6 + 0.5); }

class VirtualClock : public Clock {
 public:
  uint64_t now_ns() const override { return now_ / kPsPerNs; }
  SimTime now() const { return now_; }
  void advance_to(SimTime time) { now_ = time; }

 private:
  SimTime now_ = kPsPerUs;  // the engine takes 0 for "not yet"
};

}  // namespace hfr::sim
