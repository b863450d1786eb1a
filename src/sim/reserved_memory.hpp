// ReservedMemory: zeroed address space that takes memory only where it is touched. A simulated
// node's staging and its users' buffers are as large as the real ones; without payloads only
// counters and posts are ever touched.
#pragma once

#include <cstddef>
#include <memory>

#include "base/status.hpp"

namespace hfr::sim {

class ReservedMemory {
 public:
  static Result<ReservedMemory> create(size_t bytes);
  std::byte* data() const { return memory_.get(); }

 private:
  struct Unmap {
    size_t bytes;
    void operator()(std::byte* memory) const;
  };
  ReservedMemory(std::byte* memory, size_t bytes) : memory_(memory, Unmap{bytes}) {}

  std::unique_ptr<std::byte, Unmap> memory_;
};

}  // namespace hfr::sim
