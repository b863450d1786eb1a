// What all endpoints of one transport share. Owned by the transport, used by its thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/log.hpp"
#include "ports/transport.hpp"
#include "transport/verbs/connection.hpp"
#include "transport/verbs/memory.hpp"

namespace hfr::verbs {

struct Shared {
  std::vector<std::unique_ptr<Rail>> rails;
  std::vector<std::unique_ptr<Region>> regions;  // what register_memory was told of
  Homes homes;
  Bounces bounces;
  std::vector<Connection*> table;  // all connections, by their idx
  uint64_t mend_ns = 0;
  // Some connection may need mending: raised by connections, lowered by whoever looked at all.
  bool alarm = false;
  Logger logger;
  LinkMeters links;

  // Null when it was not registered.
  const Region* region_of(const void* ptr, size_t bytes) const {
    for (const auto& region : regions) {
      if (region->contains(ptr, bytes)) return region.get();
    }
    return nullptr;
  }
};

}  // namespace hfr::verbs
