#include "device/cuda/gpu_buffers.hpp"

#include <array>

#include "base/shared_memory.hpp"
#include "base/text.hpp"

namespace hfr {

Status GpuBuffers::check(const void* buffer, size_t bytes) {
  HFR_ASSIGN_OR_RETURN(const uint64_t id, check_address(buffer));
  if (mappings_.takes(bytes)) {
    const auto address = reinterpret_cast<CUdeviceptr>(buffer);
    ContextScope scope(context_);
    mappings_.see(address, bytes, id, is_allocated(address));
  }
  if (bytes < kPageBytes) return Status();
  Result<uint64_t> last = check_address(static_cast<const std::byte*>(buffer) + bytes - 1);
  if (last.ok()) return Status();
  return Status(last.status().code(),
                cat("'s last byte, ", bytes_text(bytes), " on", last.status().message()));
}

Result<uint64_t> GpuBuffers::check_address(const void* address) const {
  std::array<CUpointer_attribute, 4> names = {
      CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
      CU_POINTER_ATTRIBUTE_IS_MANAGED, CU_POINTER_ATTRIBUTE_BUFFER_ID};
  unsigned type = 0;
  int device = -1;
  int managed = 0;
  unsigned long long id = 0;
  std::array<void*, 4> values = {&type, &device, &managed, &id};
  ContextScope scope(context_);
  const CUresult result = context_.driver().cuPointerGetAttributes(
      static_cast<unsigned>(names.size()), names.data(), values.data(),
      reinterpret_cast<CUdeviceptr>(address));
  if (result != CUDA_SUCCESS) {
    return Status(Code::kInvalidArgument, context_.driver().text(" cannot be looked up", result));
  }
  if (managed != 0) {
    return Status(Code::kInvalidArgument,
                  " is managed memory, which may move under a copy; allocate it with cuMemAlloc, "
                  "cudaMalloc or hfr_mem_alloc");
  }
  if (type != CU_MEMORYTYPE_DEVICE) {
    return Status(Code::kInvalidArgument,
                  " is no memory of a GPU, but this rank's communicator was made for CUDA; pass a "
                  "device pointer, or make the communicator with HFR_DEVICE_HOST");
  }
  if (device != context_.device()) {
    return Status(Code::kInvalidArgument,
                  cat(" is on CUDA device ", device,
                      ", but this rank's communicator was made on "
                      "device ",
                      context_.device(), "; make that device current before hfr_comm_init_*"));
  }
  return uint64_t{id};
}

bool GpuBuffers::is_allocated(CUdeviceptr address) {
  std::lock_guard lock(mutex_);
  auto after = allocated_.upper_bound(reinterpret_cast<void*>(address));
  return after != allocated_.begin() && address < std::prev(after)->second.end;
}

void GpuBuffers::free_all() {
  for (const auto& [ptr, allocation] : allocated_) context_.driver().cuMemFree(allocation.memory);
}

Result<void*> GpuBuffers::allocate(size_t bytes) {
  // The driver aligns small blocks to less than a page.
  const size_t size = round_up(bytes == 0 ? 1 : bytes, kPageBytes) + kPageBytes;
  ContextScope scope(context_);
  CUdeviceptr memory = 0;
  if (CUresult refused = context_.driver().cuMemAlloc(&memory, size); refused != CUDA_SUCCESS) {
    return context_.driver().status(cat("hfr_mem_alloc of ", bytes_text(bytes), " on the GPU"),
                                    refused);
  }
  const CUresult result = run_in_own_stream(context_.driver(), [&](CUstream stream) {
    return context_.driver().cuMemsetD8Async(memory, 0, size, stream);
  });
  if (result != CUDA_SUCCESS) {
    context_.driver().cuMemFree(memory);
    return context_.driver().status("hfr_mem_alloc", result);
  }
  auto* ptr = reinterpret_cast<void*>(round_up(memory, kPageBytes));
  std::lock_guard lock(mutex_);
  allocated_.emplace(ptr, Allocation{memory, memory + size});
  return ptr;
}

Status GpuBuffers::free(void* ptr) {
  Allocation allocation{};
  {
    std::lock_guard lock(mutex_);
    auto found = allocated_.find(ptr);
    if (found == allocated_.end()) {
      return Status(
          Code::kInvalidArgument,
          "hfr_mem_free: this address is not one that hfr_mem_alloc of this communicator returned");
    }
    allocation = found->second;
    allocated_.erase(found);
  }
  mappings_.forget(allocation.memory, allocation.end - allocation.memory);
  ContextScope scope(context_);
  return context_.driver().status("hfr_mem_free", context_.driver().cuMemFree(allocation.memory));
}

}  // namespace hfr
