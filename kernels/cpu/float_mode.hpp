// FloatMode: while it lives, this thread rounds to nearest even and keeps denormals, whatever the
// application has set: a rank that flushes denormals must not get other bits than its peers.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hfr {
namespace {

class FloatMode {
 public:
#if defined(__x86_64__)
  FloatMode() {
    if (is_wanted()) return;
    saved_ = _mm_getcsr();
    changed_ = saved_ != wanted();
    if (changed_) _mm_setcsr(wanted());
  }
  ~FloatMode() {
    if (changed_) _mm_setcsr(saved_);
  }

 private:
  // Rounding mode, flush-to-zero and denormals-are-zero off; flags and masks as they are.
  unsigned wanted() const { return saved_ & ~0xe040u; }
#if defined(__AVX512VL__)
  // Tries what the mode does: reading it waits for everything before, a seventh of the time that 4
  // KiB take. Neither operation can raise an exception, whatever is unmasked.
  static bool is_wanted() {
    __m128 tiny = _mm_castsi128_ps(_mm_cvtsi32_si128(1));
    __m128 quarters = _mm_setr_ps(0.75f, -0.75f, 0, 0);
    asm("" : "+v"(tiny), "+v"(quarters));  // lest the compiler does the arithmetic
    const __m128 kept = _mm_add_round_ss(tiny, tiny, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m128 rounded =
        _mm_roundscale_ps(quarters, _MM_FROUND_CUR_DIRECTION | _MM_FROUND_NO_EXC);
    return _mm_cvtsi128_si32(_mm_castps_si128(kept)) == 2 &&
           _mm_cvtsi128_si64(_mm_castps_si128(rounded)) == kPlusMinusOne;
  }
  static constexpr int64_t kPlusMinusOne = static_cast<int64_t>(0xbf8000003f800000ull);
#else
  static bool is_wanted() { return false; }
#endif
  unsigned saved_ = 0;
  bool changed_ = false;
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
