#include "device/cuda/gdr_copy.hpp"

#include <dlfcn.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <atomic>
#include <cstring>
#include <type_traits>

#include "base/text.hpp"

namespace hfr {
namespace {

constexpr int kUsesPersistentMapping = 1;  // of get_attribute

// What is mapped is write-combining: without this a load may be older than the word that said that
// the GPU has written, and a store younger than the word that lets the GPU read.
void fence() {
#if defined(__x86_64__)
  _mm_mfence();
#elif defined(__aarch64__)
  asm volatile("dsb sy" ::: "memory");
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

Result<std::unique_ptr<GdrCopy>> GdrCopy::load(const char* library) {
  // Never closed: mappings may outlive who made them.
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Status(Code::kUnsupported, cat("there is no GDRCopy: ", dlerror()));
  GdrFunctions functions;
  const char* missing = nullptr;
  auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr && missing == nullptr) missing = name;
  };
  find(functions.open, "gdr_open");
  find(functions.close, "gdr_close");
  find(functions.pin_buffer, "gdr_pin_buffer");
  find(functions.unpin_buffer, "gdr_unpin_buffer");
  find(functions.map, "gdr_map");
  find(functions.unmap, "gdr_unmap");
  find(functions.copy_to_mapping, "gdr_copy_to_mapping");
  find(functions.copy_from_mapping, "gdr_copy_from_mapping");
  if (missing != nullptr) {
    return Status(Code::kUnsupported,
                  cat(library, " has no ", missing, "; it is older than GDRCopy 2: update it"));
  }
  find(functions.get_attribute, "gdr_get_attribute");
  std::unique_ptr<GdrCopy> made(new GdrCopy(functions));
  made->session_ = functions.open();
  if (made->session_ == nullptr) {
    return Status(Code::kUnsupported,
                  "GDRCopy's library is there, but its kernel module is not, or too old, or "
                  "/dev/gdrdrv may not be opened by this user");
  }
  int persistent = 1;  // where nobody can tell
  if (functions.get_attribute != nullptr)
    functions.get_attribute(made->session_, kUsesPersistentMapping, &persistent);
  made->keeps_freed_memory_ = persistent != 0;
  return made;
}

GdrCopy::~GdrCopy() {
  if (session_ != nullptr) functions_.close(session_);
}

Result<std::shared_ptr<const GdrCopy::Mapping>> GdrCopy::map(CUdeviceptr address, size_t bytes) {
  const CUdeviceptr begin = address / kGpuPageBytes * kGpuPageBytes;
  const CUdeviceptr end = (address + bytes + kGpuPageBytes - 1) / kGpuPageBytes * kGpuPageBytes;
  // From here on it undoes what has been done.
  std::shared_ptr<Mapping> mapping(new Mapping(*this, begin, end - begin));
  std::lock_guard lock(mutex_);
  auto refused = [&](const char* call, int error) {
    return Status(Code::kSystemError,
                  cat(call, " of ", bytes_text(end - begin), ": ", std::strerror(error)));
  };
  if (int error = functions_.pin_buffer(session_, begin, end - begin, 0, 0, &mapping->handle_);
      error != 0) {
    return refused("gdr_pin_buffer", error);
  }
  mapping->pinned_ = true;
  void* mapped = nullptr;
  if (int error = functions_.map(session_, mapping->handle_, &mapped, end - begin); error != 0)
    return refused("gdr_map", error);
  mapping->mapped_ = static_cast<std::byte*>(mapped);
  return std::shared_ptr<const Mapping>(std::move(mapping));
}

void GdrCopy::unmap(const Mapping& mapping) {
  std::lock_guard lock(mutex_);
  if (mapping.mapped_ != nullptr)
    functions_.unmap(session_, mapping.handle_, mapping.mapped_, mapping.bytes_);
  if (mapping.pinned_) functions_.unpin_buffer(session_, mapping.handle_);
}

bool GdrCopy::Mapping::read(void* to, CUdeviceptr from, size_t bytes) const {
  fence();
  return owner_.functions_.copy_from_mapping(handle_, to, at(from), bytes) == 0;
}

bool GdrCopy::Mapping::write(CUdeviceptr to, const void* from, size_t bytes) const {
  std::byte ignored{};
  return owner_.functions_.copy_to_mapping(handle_, at(to), from, bytes) == 0 &&
         read(&ignored, to, sizeof(ignored));
}

const Result<GdrCopy*>& gdr_copy() {
  static const Result<GdrCopy*> kGdrCopy = []() -> Result<GdrCopy*> {
    HFR_ASSIGN_OR_RETURN(std::unique_ptr<GdrCopy> loaded, GdrCopy::load("libgdrapi.so.2"));
    return loaded.release();  // for the process' life
  }();
  return kGdrCopy;
}

}  // namespace hfr
