// PeerMemory: reads other local processes' private buffers in place, by the kernel
// (process_vm_readv).
//
// An owner pulls a peer's chunk into a scratch of its own, which stays in its cache, where a
// copy-in would leave the chunk in the peer's: 10-15 % faster from 256 KiB to 2 MiB on 2 ranks,
// slower from 4 MiB up (docs/benchmarks.md). Needs the right to trace (same user, no ptrace
// restriction); set-up tries it and all ranks of the node agree.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hfr {

class PeerMemory {
 public:
  PeerMemory() = default;
  // `pids[r]` is local rank r's process.
  PeerMemory(std::vector<pid_t> pids, size_t scratch_bytes);

  bool available() const { return !pids_.empty(); }

  // Copies [address, address + bytes) of local rank `local_rank` to `dst`. False when the kernel
  // refuses, which a dead peer makes it do. Where `local_rank`'s chunk is pulled to;
  // `scratch_bytes` long.
  std::byte* scratch(int local_rank) const {
    return scratch_.get() + static_cast<size_t>(local_rank) * scratch_bytes_;
  }
  bool pull(int local_rank, uint64_t address, void* dst, size_t bytes) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::vector<pid_t> pids_;
  size_t scratch_bytes_ = 0;
  std::unique_ptr<std::byte, Free> scratch_;
};

}  // namespace hfr
