// GpuBuffers: the memory of a GPU that a rank's caller passes, and gets from hfr_mem_alloc.
//
// The caller's threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "device/cuda/context.hpp"
#include "device/cuda/gdr_mappings.hpp"

namespace hfr {

class GpuBuffers {
 public:
  GpuBuffers(const CudaContext& context, GdrMappings& mappings)
      : context_(context), mappings_(mappings) {}
  GpuBuffers(const GpuBuffers&) = delete;
  GpuBuffers& operator=(const GpuBuffers&) = delete;

  // As UserSide has them.
  Status check(const void* buffer, size_t bytes);
  Result<void*> allocate(size_t bytes);
  Status free(void* ptr);

  // What was allocated and not freed. The context is current.
  void free_all();

 private:
  struct Allocation {
    CUdeviceptr memory = 0;
    CUdeviceptr end = 0;
  };
  // The id of its allocation.
  Result<uint64_t> check_address(const void* address) const;
  // allocate() returned it.
  bool is_allocated(CUdeviceptr address);

  const CudaContext& context_;
  GdrMappings& mappings_;
  std::mutex mutex_;
  std::map<void*, Allocation> allocated_;  // by what allocate() returned
};

}  // namespace hfr
