#include "device/cuda/gpu_memory.hpp"

#include <cuda.h>
#include <dlfcn.h>
#include <link.h>

namespace hfr {
namespace {

using Ask = decltype(&::cuPointerGetAttributes);

// Grows whenever the process loads a library.
unsigned long long libraries_loaded() {
  unsigned long long loaded = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<unsigned long long*>(result) = info->dlpi_adds;
        return 1;  // the first one says it
      },
      &loaded);
  return loaded;
}

// The driver that is in the process, not one that this would load; null while there is none.
Ask find_driver() {
  static std::atomic<Ask> driver{nullptr};
  static std::atomic<unsigned long long> looked_at{0};
  if (Ask found = driver.load(std::memory_order_acquire)) return found;
  const unsigned long long loaded = libraries_loaded();
  if (looked_at.load(std::memory_order_relaxed) == loaded) return nullptr;
  if (void* handle = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW)) {
    driver.store(reinterpret_cast<Ask>(dlsym(handle, "cuPointerGetAttributes")),
                 std::memory_order_release);
  }
  looked_at.store(loaded, std::memory_order_relaxed);
  return driver.load(std::memory_order_acquire);
}

}  // namespace

bool GpuMemory::ask(const void* address) {
  const Ask driver = find_driver();
  if (driver == nullptr) return false;
  std::array<CUpointer_attribute, 2> names = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                              CU_POINTER_ATTRIBUTE_IS_MANAGED};
  unsigned type = 0;
  int managed = 0;
  std::array<void*, 2> values = {&type, &managed};
  // A driver that was not initialised has given out no memory.
  return driver(static_cast<unsigned>(names.size()), names.data(), values.data(),
                reinterpret_cast<CUdeviceptr>(address)) == CUDA_SUCCESS &&
         type == CU_MEMORYTYPE_DEVICE && managed == 0;
}

}  // namespace hfr
