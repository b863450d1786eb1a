// Heap: one rank's part of the node's shared heap, from which hfr_mem_alloc serves.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>

#include "base/shared_memory.hpp"
#include "base/status.hpp"

namespace hfr {

// First fit over a range of a sparse shared mapping. Blocks are whole pages, zeroed, on huge pages
// where they are large enough. Any thread.
class Heap {
 public:
  // Serves [offset, offset + bytes) of `memory`, which outlives the heap.
  Heap(const SharedMemory& memory, size_t offset, size_t bytes, bool huge_pages);

  Result<void*> allocate(size_t bytes);
  // Fails for an address that allocate() did not return.
  Status free(void* ptr);

 private:
  const SharedMemory& memory_;
  const size_t capacity_;
  const bool huge_pages_;
  std::mutex mutex_;
  std::map<size_t, size_t> free_;  // offset -> size, no two adjacent
  std::map<size_t, size_t> used_;
};

}  // namespace hfr
