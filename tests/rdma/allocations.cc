#include "allocations.hpp"

#include <cerrno>
#include <cstddef>

namespace {
thread_local uint64_t t_allocations = 0;
}  // namespace

// An executable's symbols come before glibc's, which keeps its own under these names.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t number, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
  ++t_allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t number, size_t bytes) {
  ++t_allocations;
  return __libc_calloc(number, bytes);
}
void* realloc(void* memory, size_t bytes) {
  ++t_allocations;
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  ++t_allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = aligned_alloc(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}
}

namespace hfr_tests {

uint64_t num_allocations() { return t_allocations; }

}  // namespace hfr_tests
