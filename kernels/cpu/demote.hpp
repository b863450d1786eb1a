// Moving what this core has just written to the cache that all cores and devices share.
#pragma once

#include <cstddef>

namespace hfr {

// A hint: lines of [start, start + bytes) leave this core's own caches for the last one, from which
// a device reads them sooner. Processors without such an instruction do nothing.
inline void demote([[maybe_unused]] const void* start, [[maybe_unused]] size_t bytes) {
#if defined(__x86_64__)
  // CLDEMOTE (%rax), spelt out: assemblers want a flag for it. Where it is unknown it is a NOP.
  const char* line = static_cast<const char*>(start);
  for (const char* end = line + bytes; line < end; line += 64)
    asm volatile(".byte 0x0f, 0x1c, 0x00" ::"a"(line) : "memory");
#endif
}

}  // namespace hfr
