// PeerMemory: reaches private buffers of the node's other processes through the kernel
// (process_vm_readv, process_vm_writev).
//
// One copy where staging takes two, and both ends of it stay in the caches of whoever adds
// (docs/experiments.md). Needs the right to trace (same user, no ptrace restriction); set-up tries
// it and all ranks of the node agree.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hfr {

class PeerMemory {
 public:
  struct Process {
    pid_t pid = 0;
    uint64_t probe = 0;   // address of a word that others know
    uint64_t target = 0;  // address of a word that others may set to it
  };
  static Process this_process();

  PeerMemory() = default;
  // `processes[r]` is local rank r's.
  PeerMemory(std::vector<Process> processes, size_t block_bytes);

  bool available() const { return !processes_.empty(); }
  // At most this much is pulled or pushed at once.
  size_t block_bytes() const { return block_bytes_; }
  // Where local rank `local_rank`'s block is pulled to.
  std::byte* scratch(int local_rank) const {
    return scratch_.get() + static_cast<size_t>(local_rank) * block_bytes_;
  }

  // Copies `bytes` from, or to, `address` of local rank `local_rank`. False when the kernel
  // refuses, which a dead peer makes it do.
  bool pull(int local_rank, uint64_t address, void* dst, size_t bytes) const;
  bool push(int local_rank, uint64_t address, const void* src, size_t bytes) const;

  // Both ways work, and lead to the right process.
  bool try_out(int local_rank) const;
  bool alive(int local_rank) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::vector<Process> processes_;
  size_t block_bytes_ = 0;
  std::unique_ptr<std::byte, Free> scratch_;
};

}  // namespace hfr
