// FloatMode: while it lives, this thread rounds to nearest even and keeps denormals, whatever the
// application has set: a rank that flushes denormals must not get other bits than its peers.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace hfr {
namespace {

class FloatMode {
 public:
#if defined(__x86_64__)
  FloatMode() : saved_(_mm_getcsr()) {
    if (saved_ != wanted()) _mm_setcsr(wanted());
  }
  ~FloatMode() {
    if (saved_ != wanted()) _mm_setcsr(saved_);
  }

 private:
  // Rounding mode, flush-to-zero and denormals-are-zero off; flags and masks as they are.
  unsigned wanted() const { return saved_ & ~0xe040u; }
  unsigned saved_;
#elif defined(__aarch64__)
  FloatMode() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    if (saved_ != wanted()) asm volatile("msr fpcr, %0" : : "r"(wanted()));
  }
  ~FloatMode() {
    if (saved_ != wanted()) asm volatile("msr fpcr, %0" : : "r"(saved_));
  }

 private:
  // Rounding mode, flush-to-zero (both widths), default NaN off.
  uint64_t wanted() const { return saved_ & ~uint64_t{0x03c80000}; }
  uint64_t saved_ = 0;
#else
  FloatMode() {}
  ~FloatMode() {}
#endif
 public:
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;
};

}  // namespace
}  // namespace hfr
