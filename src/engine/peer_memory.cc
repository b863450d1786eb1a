#include "engine/peer_memory.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>

#include "base/shared_memory.hpp"

namespace hfr {
namespace {

constexpr uint64_t kWord = 0x4846526564756365;
const volatile uint64_t g_probe = kWord;
volatile uint64_t g_target = 0;

}  // namespace

PeerMemory::Process PeerMemory::this_process() {
  return {getpid(), reinterpret_cast<uintptr_t>(&g_probe), reinterpret_cast<uintptr_t>(&g_target)};
}

void PeerMemory::Free::operator()(std::byte* memory) const { std::free(memory); }

PeerMemory::PeerMemory(std::vector<Process> processes, size_t block_bytes)
    : processes_(std::move(processes)),
      block_bytes_(block_bytes),
      scratch_(static_cast<std::byte*>(
          std::aligned_alloc(kPageBytes, processes_.size() * block_bytes))) {
  if (scratch_ == nullptr) processes_.clear();
}

bool PeerMemory::pull(int local_rank, uint64_t address, void* dst, size_t bytes) const {
  iovec here{dst, bytes};
  iovec there{reinterpret_cast<void*>(address), bytes};
  pid_t pid = processes_[static_cast<size_t>(local_rank)].pid;
  return process_vm_readv(pid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes);
}

bool PeerMemory::push(int local_rank, uint64_t address, const void* src, size_t bytes) const {
  iovec here{const_cast<void*>(src), bytes};
  iovec there{reinterpret_cast<void*>(address), bytes};
  pid_t pid = processes_[static_cast<size_t>(local_rank)].pid;
  return process_vm_writev(pid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes);
}

bool PeerMemory::alive(int local_rank) const {
  uint64_t seen = 0;
  uint64_t probe = processes_[static_cast<size_t>(local_rank)].probe;
  return pull(local_rank, probe, &seen, sizeof(seen)) && seen == kWord;
}

bool PeerMemory::try_out(int local_rank) const {
  uint64_t target = processes_[static_cast<size_t>(local_rank)].target;
  return alive(local_rank) && push(local_rank, target, &kWord, sizeof(kWord));
}

}  // namespace hfr
