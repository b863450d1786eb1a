#include "cpu/copy.hpp"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hfr {
namespace {

constexpr size_t kMinStreamingBytes = 4096;

#if defined(__x86_64__)
// SSE2 is always there; wider stores fill the same write-combining buffers.
void copy_streaming(char* to, const char* from, size_t bytes) {
  size_t head = (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64;
  std::memcpy(to, from, head);
  to += head;
  from += head;
  bytes -= head;
  for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
    auto* out = reinterpret_cast<__m128i*>(to);
    const auto* in = reinterpret_cast<const __m128i*>(from);
    __m128i a = _mm_loadu_si128(in);
    __m128i b = _mm_loadu_si128(in + 1);
    __m128i c = _mm_loadu_si128(in + 2);
    __m128i d = _mm_loadu_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  std::memcpy(to, from, bytes);
  _mm_sfence();
}
#endif

}  // namespace

void copy_bytes(void* dst, const void* src, size_t bytes, bool streaming) {
#if defined(__x86_64__)
  if (streaming && bytes >= kMinStreamingBytes) {
    copy_streaming(static_cast<char*>(dst), static_cast<const char*>(src), bytes);
    return;
  }
#endif
  (void)streaming;
  if (bytes > 0) std::memcpy(dst, src, bytes);
}

}  // namespace hfr
