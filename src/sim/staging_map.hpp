// StagingMap: what an address in a node's staging is, for ports that are given addresses only.
#pragma once

#include <cstddef>

#include "engine/staging.hpp"

namespace hfr::sim {

class StagingMap {
 public:
  explicit StagingMap(const Staging& staging)
      : staging_(staging),
        counters_per_lane_(staging.counters_per_lane()),
        slot_stride_(staging.result(0) - staging.input(0, staging.shape().num_local - 1)) {}

  int lane_of(const Counter& counter) const {
    return static_cast<int>((&counter - &staging_.added(0)) / counters_per_lane_);
  }
  // An input slot, or no staging at all: a user's buffer. Else a result or what came from afar.
  bool is_input(const void* address) const {
    const auto* at = static_cast<const std::byte*>(address);
    const int window = staging_.shape().window;
    const std::byte* first = staging_.input(0, 0);
    const std::byte* last = staging_.input(window - 1, 0);
    if (at < first || at >= last + lane_bytes()) return true;
    const auto lane_stride = window > 1 ? staging_.input(1, 0) - first : lane_bytes();
    return (at - first) % lane_stride / slot_stride_ < staging_.shape().num_local;
  }

 private:
  std::ptrdiff_t lane_bytes() const {
    const StagingShape& shape = staging_.shape();
    return (shape.num_local + 1 + shape.num_children) * slot_stride_ +
           static_cast<std::ptrdiff_t>(shape.round_bytes) * shape.num_rounds * 2;
  }

  const Staging staging_;
  const std::ptrdiff_t counters_per_lane_;
  const std::ptrdiff_t slot_stride_;
};

}  // namespace hfr::sim
