// What the driver sees of a rank: how far it is, and which call into the library it is in.
#pragma once

#include <algorithm>
#include <cstdint>

#include "page.hpp"

namespace hfr_tests {

class Watch {
 public:
  Watch(Page::Rank& mine, uint32_t timeout_ms) : mine_(mine), timeout_ms_(timeout_ms) {}

  void phase(Phase phase) { mine_.phase = static_cast<uint64_t>(phase); }
  void life(int life) { mine_.life = static_cast<uint64_t>(life); }
  void count_step() { ++mine_.steps; }
  uint64_t steps() const { return mine_.steps; }

  // Calls the library. It promises to be back after so many of its deadlines and `grace_ms`.
  template <typename Function>
  auto call(int deadlines, uint64_t grace_ms, Function&& function) {
    const uint64_t promise_ms = static_cast<uint64_t>(deadlines) * timeout_ms_ + grace_ms;
    const uint64_t begin = now_ns();
    mine_.promise_ms = promise_ms;
    mine_.since_ns = begin;
    auto result = function();
    mine_.since_ns = 0;
    const auto took_ms = static_cast<int64_t>((now_ns() - begin) / 1'000'000);
    latest_ms_ = std::max(latest_ms_, took_ms - static_cast<int64_t>(promise_ms));
    return result;
  }

  // How far past its promise a call came back; below 0: before.
  int64_t latest_ms() const { return latest_ms_; }

 private:
  Page::Rank& mine_;
  const uint32_t timeout_ms_;
  int64_t latest_ms_ = INT64_MIN / 2;
};

}  // namespace hfr_tests
