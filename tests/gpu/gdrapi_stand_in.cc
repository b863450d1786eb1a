// A stand-in for GDRCopy's library, for machines without its kernel module. What it maps cannot be
// touched but by its own copies, which go by the CUDA driver in a stream of their own, or, without
// a GPU, from and to the process' own memory. So it shows who copies what when, and not how fast.
#include "gdrapi_stand_in.hpp"

#include <cuda.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

struct gdr_mh_t {
  unsigned long h;
};

namespace {

using hfr_tests::GdrStandIn;

constexpr size_t kPageBytes = size_t{64} << 10;

GdrStandIn& state() {
  static GdrStandIn only;
  return only;
}

#define HFR_STAND_IN_FUNCTIONS(X)      \
  X(cuThreadExchangeStreamCaptureMode) \
  X(cuCtxGetCurrent)                   \
  X(cuCtxPushCurrent)                  \
  X(cuCtxPopCurrent)                   \
  X(cuStreamCreate)                    \
  X(cuStreamDestroy)                   \
  X(cuStreamSynchronize)               \
  X(cuPointerGetAttribute)             \
  X(cuMemcpyDtoHAsync)                 \
  X(cuMemcpyHtoDAsync)

struct Cuda {
#define HFR_DECLARE(name) decltype(&::name) name = nullptr;
  HFR_STAND_IN_FUNCTIONS(HFR_DECLARE)
#undef HFR_DECLARE
  static const Cuda& get() {
    static const Cuda kCuda = [] {
      Cuda cuda;
      void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
      if (driver == nullptr) std::abort();
#define HFR_NAME(name) #name
#define HFR_LOAD(name) \
  cuda.name = reinterpret_cast<decltype(cuda.name)>(dlsym(driver, HFR_NAME(name)));
      HFR_STAND_IN_FUNCTIONS(HFR_LOAD)
#undef HFR_LOAD
#undef HFR_NAME
      return cuda;
    }();
    return kCuda;
  }
};

[[noreturn]] void misused(const char* what) {
  std::fprintf(stderr, "the stand-in for GDRCopy: %s\n", what);
  std::abort();
}

// What is mapped is pages, which a driver may give to another allocation once this one is freed.
// The copies here would follow it, so the ids are compared.
class Allocations {
 public:
  void expect_same(CUdeviceptr address) {
    unsigned long long id = 0;
    if (Cuda::get().cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_BUFFER_ID, address) !=
        CUDA_SUCCESS) {
      misused("a copy of memory that was freed");
    }
    std::lock_guard lock(mutex_);
    if (ids_.emplace(address, id).first->second != id)
      misused("a copy of memory that was freed and given out again");
  }

 private:
  std::mutex mutex_;
  std::map<CUdeviceptr, unsigned long long> ids_;
};

struct Pin {
  CUdeviceptr address = 0;
  size_t bytes = 0;
  char* mapped = nullptr;
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  Allocations allocations;
};

// In the pin's context, whatever the thread's own one is and whoever captures.
template <typename Body>
void in_context(const Pin& pin, const Body& body) {
  const Cuda& cuda = Cuda::get();
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  cuda.cuThreadExchangeStreamCaptureMode(&mode);
  cuda.cuCtxPushCurrent(pin.context);
  body(cuda);
  CUcontext popped = nullptr;
  cuda.cuCtxPopCurrent(&popped);
  cuda.cuThreadExchangeStreamCaptureMode(&mode);
}

Pin& pin_of(gdr_mh_t handle) { return *reinterpret_cast<Pin*>(handle.h); }

// Where on the GPU it is; 0: refused.
CUdeviceptr begin_copy(gdr_mh_t handle, const void* mapped, size_t bytes, std::atomic<int>& count) {
  if (state().refuses_copies) return 0;
  Pin& pin = pin_of(handle);
  const char* at = static_cast<const char*>(mapped);
  if (pin.mapped == nullptr || at < pin.mapped || at + bytes > pin.mapped + pin.bytes)
    misused("a copy outside of what is mapped");
  const int slow_from = state().slow_from;
  if (slow_from > 0 && bytes >= static_cast<size_t>(slow_from)) usleep(10'000);
  ++count;
  const CUdeviceptr address = pin.address + static_cast<CUdeviceptr>(at - pin.mapped);
  if (!state().host_memory) pin.allocations.expect_same(address);
  return address;
}

int copy_host(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  if (state().breaks_bytes) static_cast<unsigned char*>(to)[bytes - 1] ^= 1;
  return 0;
}

template <typename Enqueue>
int copy_gpu(gdr_mh_t handle, const Enqueue& enqueue) {
  const Pin& pin = pin_of(handle);
  CUresult result = CUDA_SUCCESS;
  in_context(pin, [&](const Cuda& cuda) {
    result = enqueue(cuda, pin.stream);
    if (result == CUDA_SUCCESS) result = cuda.cuStreamSynchronize(pin.stream);
  });
  return result == CUDA_SUCCESS ? 0 : EIO;
}

}  // namespace

#define HFR_EXPORT extern "C" __attribute__((visibility("default")))

HFR_EXPORT GdrStandIn* gdr_stand_in() { return &state(); }

HFR_EXPORT void* gdr_open() {
  if (state().no_module) return nullptr;
  ++state().sessions;
  return &state();
}

HFR_EXPORT int gdr_close(void*) {
  --state().sessions;
  return 0;
}

HFR_EXPORT int gdr_pin_buffer(void*, unsigned long address, size_t bytes, uint64_t, uint32_t,
                              gdr_mh_t* handle) {
  if (address % kPageBytes != 0 || bytes % kPageBytes != 0) misused("pages that are not whole");
  if (state().refuses_pins) return EINVAL;
  Pin* pin = new Pin;
  pin->address = address;
  pin->bytes = bytes;
  if (!state().host_memory) {
    if (Cuda::get().cuCtxGetCurrent(&pin->context) != CUDA_SUCCESS || pin->context == nullptr)
      misused("there is no current context");
    in_context(
        *pin, [&](const Cuda& cuda) { cuda.cuStreamCreate(&pin->stream, CU_STREAM_NON_BLOCKING); });
  }
  ++state().pinned;
  ++state().pins;
  handle->h = reinterpret_cast<unsigned long>(pin);
  return 0;
}

HFR_EXPORT int gdr_unpin_buffer(void*, gdr_mh_t handle) {
  Pin* pin = reinterpret_cast<Pin*>(handle.h);
  if (pin->mapped != nullptr) misused("unpinned before it was unmapped");
  if (pin->stream != nullptr)
    in_context(*pin, [&](const Cuda& cuda) { cuda.cuStreamDestroy(pin->stream); });
  delete pin;
  --state().pinned;
  return 0;
}

HFR_EXPORT int gdr_map(void*, gdr_mh_t handle, void** mapped, size_t bytes) {
  if (state().refuses_maps) return ENOMEM;
  void* reserved =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return errno;
  reinterpret_cast<Pin*>(handle.h)->mapped = static_cast<char*>(reserved);
  *mapped = reserved;
  ++state().mapped;
  return 0;
}

HFR_EXPORT int gdr_unmap(void*, gdr_mh_t handle, void* mapped, size_t bytes) {
  munmap(mapped, bytes);
  reinterpret_cast<Pin*>(handle.h)->mapped = nullptr;
  --state().mapped;
  return 0;
}

HFR_EXPORT int gdr_copy_to_mapping(gdr_mh_t handle, void* mapped, const void* from, size_t bytes) {
  const CUdeviceptr to = begin_copy(handle, mapped, bytes, state().writes);
  if (to == 0) return EINVAL;
  if (state().host_memory) return copy_host(reinterpret_cast<void*>(to), from, bytes);
  return copy_gpu(handle, [&](const Cuda& cuda, CUstream stream) {
    return cuda.cuMemcpyHtoDAsync(to, from, bytes, stream);
  });
}

HFR_EXPORT int gdr_copy_from_mapping(gdr_mh_t handle, void* to, const void* mapped, size_t bytes) {
  const CUdeviceptr from = begin_copy(handle, mapped, bytes, state().reads);
  if (from == 0) return EINVAL;
  if (state().host_memory) return copy_host(to, reinterpret_cast<const void*>(from), bytes);
  return copy_gpu(handle, [&](const Cuda& cuda, CUstream stream) {
    return cuda.cuMemcpyDtoHAsync(to, from, bytes, stream);
  });
}

HFR_EXPORT int gdr_get_attribute(void*, int which, int* value) {
  if (which != 1 || state().cannot_tell) return EINVAL;
  *value = state().persistent ? 1 : 0;
  return 0;
}
