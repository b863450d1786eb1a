// What tests see of the stand-in for GDRCopy's library (gdrapi_stand_in.cc).
#pragma once

#include <dlfcn.h>

#include <atomic>

namespace hfr_tests {

struct GdrStandIn {
  // Before the library is used:
  std::atomic<bool> host_memory{false};  // the "GPU memory" is the process' own
  std::atomic<bool> no_module{false};
  std::atomic<bool> persistent{false};
  std::atomic<bool> cannot_tell{false};  // whether it is
  std::atomic<bool> refuses_pins{false};
  std::atomic<bool> refuses_maps{false};
  std::atomic<bool> refuses_copies{false};
  std::atomic<bool> breaks_bytes{false};  // each copy's last one
  std::atomic<int> slow_from{0};          // bytes from which on a copy takes 10 ms; 0: none does
  // What has been done:
  std::atomic<int> sessions{0};
  std::atomic<int> pinned{0};
  std::atomic<int> mapped{0};
  std::atomic<int> pins{0};
  std::atomic<int> reads{0};
  std::atomic<int> writes{0};

  // The one of the library at `path`; null when the process has not loaded it.
  static GdrStandIn* of(const char* path) {
    void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) return nullptr;
    auto* find = reinterpret_cast<GdrStandIn* (*)()>(dlsym(library, "gdr_stand_in"));
    return find != nullptr ? find() : nullptr;
  }
};

}  // namespace hfr_tests
