#include "comm/heap.hpp"

#include "base/text.hpp"

namespace hfr {

Heap::Heap(const SharedMemory& memory, size_t offset, size_t bytes, bool huge_pages)
    : memory_(memory), capacity_(bytes), huge_pages_(huge_pages) {
  free_.emplace(offset, bytes);
}

Result<void*> Heap::allocate(size_t bytes) {
  if (bytes > capacity_) {
    return Status(Code::kOutOfMemory,
                  cat("hfr_mem_alloc of ", bytes_text(bytes), ": the heap holds ",
                      bytes_text(capacity_), "; raise HFREDUCE_HEAP_BYTES"));
  }
  size_t size = round_up(bytes == 0 ? 1 : bytes, kPageBytes);
  const bool large = size >= kHugePageBytes;
  std::lock_guard lock(mutex_);
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    auto [start, length] = *it;
    size_t first = large ? round_up(start, kHugePageBytes) : start;
    if (first + size > start + length) continue;
    free_.erase(it);
    if (first > start) free_.emplace(start, first - start);
    if (first + size < start + length) free_.emplace(first + size, start + length - first - size);
    used_.emplace(first, size);
    if (large && huge_pages_) memory_.collapse(first, size);
    return static_cast<void*>(memory_.data() + first);
  }
  return Status(Code::kOutOfMemory,
                cat("hfr_mem_alloc of ", bytes_text(bytes), ": the heap of ", bytes_text(capacity_),
                    " has no free range so large; free some or raise HFREDUCE_HEAP_BYTES"));
}

Status Heap::free(void* ptr) {
  std::lock_guard lock(mutex_);
  auto offset = static_cast<size_t>(static_cast<std::byte*>(ptr) - memory_.data());
  auto used = used_.find(offset);
  if (used == used_.end()) {
    return Status(
        Code::kInvalidArgument,
        "hfr_mem_free: this address is not one that hfr_mem_alloc of this communicator returned");
  }
  auto [start, size] = *used;
  used_.erase(used);
  HFR_RETURN_IF_ERROR(memory_.release(start, size));
  auto next = free_.lower_bound(start);
  if (next != free_.end() && start + size == next->first) {
    size += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == start) {
      before->second += size;
      return Status();
    }
  }
  free_.emplace(start, size);
  return Status();
}

}  // namespace hfr
