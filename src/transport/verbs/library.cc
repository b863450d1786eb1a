#include "transport/verbs/library.hpp"

#include <dlfcn.h>

#include "base/text.hpp"

namespace hfr::verbs {

ibv_mr* Library::register_memory(ibv_pd* domain, void* memory, size_t bytes, bool relaxed) const {
  const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  if (!relaxed || reg_mr_iova2 == nullptr) return reg_mr(domain, memory, bytes, access);
  return reg_mr_iova2(domain, memory, bytes, reinterpret_cast<uintptr_t>(memory),
                      static_cast<unsigned>(access) | IBV_ACCESS_RELAXED_ORDERING);
}

Result<Library> load_library(const char* name) {
  // Never closed: providers register themselves in it.
  void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Status(Code::kUnsupported,
                  cat("libibverbs is not on this machine (", dlerror(),
                      "); install rdma-core (libibverbs1), or use HFREDUCE_TRANSPORT=tcp"));
  }
  Library library;
  const char* missing = nullptr;
#define HFR_LOAD(name)                                                                       \
  library.name =                                                                             \
      reinterpret_cast<decltype(library.name)>(dlvsym(handle, "ibv_" #name, "IBVERBS_1.1")); \
  if (library.name == nullptr && missing == nullptr) missing = "ibv_" #name;
  HFR_VERBS_FUNCTIONS(HFR_LOAD)
#undef HFR_LOAD
  if (missing != nullptr) {
    return Status(Code::kUnsupported,
                  cat(name, " has no ", missing, " of version IBVERBS_1.1: update rdma-core"));
  }
  library.reg_mr_iova2 = reinterpret_cast<decltype(library.reg_mr_iova2)>(
      dlvsym(handle, "ibv_reg_mr_iova2", "IBVERBS_1.8"));
  return library;
}

const Result<Library>& verbs_library() {
  static const Result<Library> kLibrary = load_library("libibverbs.so.1");
  return kLibrary;
}

}  // namespace hfr::verbs
