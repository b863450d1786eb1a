#include "engine/peer_memory.hpp"

#include <sys/uio.h>

#include <cstdlib>

#include "base/shared_memory.hpp"

namespace hfr {

void PeerMemory::Free::operator()(std::byte* memory) const { std::free(memory); }

PeerMemory::PeerMemory(std::vector<pid_t> pids, size_t scratch_bytes)
    : pids_(std::move(pids)),
      scratch_bytes_(scratch_bytes),
      scratch_(
          static_cast<std::byte*>(std::aligned_alloc(kPageBytes, pids_.size() * scratch_bytes))) {
  if (scratch_ == nullptr) pids_.clear();
}

bool PeerMemory::pull(int local_rank, uint64_t address, void* dst, size_t bytes) const {
  iovec here{dst, bytes};
  iovec there{reinterpret_cast<void*>(address), bytes};
  ssize_t got = process_vm_readv(pids_[static_cast<size_t>(local_rank)], &here, 1, &there, 1, 0);
  return got == static_cast<ssize_t>(bytes);
}

}  // namespace hfr
