// GpuMemory: whether an address is memory of a GPU that the CPU cannot reach. For ranks in host
// memory, which have no driver: it asks the one that the caller has loaded, if any.
#pragma once

#include "device/cuda/host_pages.hpp"

namespace hfr {

class GpuMemory {
 public:
  // Any thread. About a nanosecond for a page that was asked for lately; a microsecond for others
  // where the caller has loaded a driver, and a fifth of that where not.
  bool contains(const void* address) {
    if (host_pages_.contains(address)) return false;
    if (ask(address)) return true;
    host_pages_.add(address);
    return false;
  }

 private:
  static bool ask(const void* address);

  HostPages host_pages_;
};

}  // namespace hfr
