// GdrCopy: NVIDIA's GDRCopy, a library and a kernel module through which the CPU itself reads and
// writes GPU memory. Loaded at run time; nothing of it is needed to build.
//
// All of it: any thread.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/status.hpp"

namespace hfr {

constexpr size_t kGpuPageBytes = size_t{64} << 10;  // what is mapped begins and ends with one

// The functions of libgdrapi.so.2 and what they take, as GDRCopy 2.0 to 2.5 define them.
struct GdrHandle {
  unsigned long h = 0;  // NOLINT(google-runtime-int): so it is there
};
struct GdrFunctions {
  void* (*open)() = nullptr;
  int (*close)(void* session) = nullptr;
  int (*pin_buffer)(void* session, unsigned long address, size_t bytes, uint64_t token,
                    uint32_t space, GdrHandle* handle) = nullptr;
  int (*unpin_buffer)(void* session, GdrHandle handle) = nullptr;
  int (*map)(void* session, GdrHandle handle, void** mapped, size_t bytes) = nullptr;
  int (*unmap)(void* session, GdrHandle handle, void* mapped, size_t bytes) = nullptr;
  int (*copy_to_mapping)(GdrHandle handle, void* mapped, const void* from, size_t bytes) = nullptr;
  int (*copy_from_mapping)(GdrHandle handle, void* to, const void* mapped, size_t bytes) = nullptr;
  int (*get_attribute)(void* session, int which, int* value) = nullptr;  // null: an older one
};

class GdrCopy {
 public:
  // Fails with a sentence when the library, or the kernel module, is not there.
  static Result<std::unique_ptr<GdrCopy>> load(const char* library);
  // After the mappings.
  ~GdrCopy();
  GdrCopy(const GdrCopy&) = delete;
  GdrCopy& operator=(const GdrCopy&) = delete;

  // GPU memory that is pinned and mapped for as long as this lives.
  class Mapping {
   public:
    ~Mapping() { owner_.unmap(*this); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    // Inside what was mapped, in order with the thread's other loads and stores; `bytes` is not 0.
    // False: refused.
    bool read(void* to, CUdeviceptr from, size_t bytes) const;
    // Returns when it has come to the GPU: a byte is read back, which waits for that.
    bool write(CUdeviceptr to, const void* from, size_t bytes) const;

   private:
    friend class GdrCopy;
    Mapping(GdrCopy& owner, CUdeviceptr begin, size_t bytes)
        : owner_(owner), begin_(begin), bytes_(bytes) {}
    std::byte* at(CUdeviceptr address) const { return mapped_ + (address - begin_); }

    GdrCopy& owner_;
    const CUdeviceptr begin_;
    const size_t bytes_;
    GdrHandle handle_;
    bool pinned_ = false;
    std::byte* mapped_ = nullptr;
  };
  // The pages of that memory, which is one allocation's of the current context. Takes 10 us to 1
  // ms.
  Result<std::shared_ptr<const Mapping>> map(CUdeviceptr address, size_t bytes);

  // Memory that is freed while it is mapped stays allocated until it is no more.
  bool keeps_freed_memory() const { return keeps_freed_memory_; }

 private:
  explicit GdrCopy(const GdrFunctions& functions) : functions_(functions) {}
  void unmap(const Mapping& mapping);

  const GdrFunctions functions_;
  void* session_ = nullptr;
  bool keeps_freed_memory_ = false;
  std::mutex mutex_;  // the library's lists are not made for threads
};

// The process' one, loaded when first asked for; or why there is none.
const Result<GdrCopy*>& gdr_copy();

}  // namespace hfr
