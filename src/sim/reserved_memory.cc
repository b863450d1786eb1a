#include "sim/reserved_memory.hpp"

#include <sys/mman.h>

#include <cerrno>

#include "base/text.hpp"

namespace hfr::sim {

Result<ReservedMemory> ReservedMemory::create(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return system_error(cat("reserving ", bytes_text(bytes),
                            " of address space for a simulated node (see ulimit -v and "
                            "vm.overcommit_memory)"),
                        errno);
  }
  madvise(memory, bytes, MADV_NOHUGEPAGE);  // a touched counter should cost a small page
  return ReservedMemory(static_cast<std::byte*>(memory), bytes);
}

void ReservedMemory::Unmap::operator()(std::byte* memory) const { munmap(memory, bytes); }

}  // namespace hfr::sim
