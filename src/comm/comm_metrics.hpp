// CommMetrics: what one rank of a communicator has done, as read at one moment, and how several of
// them read for Prometheus (docs/metrics.md).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.hpp"
#include "engine/meters.hpp"
#include "ports/transport.hpp"

namespace hfr {

struct CommMetrics {
  int rank = 0;
  int node = 0;
  uint64_t comm = 0;  // tells the communicators of one page apart
  uint64_t operations_started = 0;
  uint64_t operations_completed = 0;
  std::array<uint64_t, 3> operations_by_path{};
  std::array<StageTotals, kNumStages> stages{};  // kOperation: bytes are of those that were started
  uint64_t puts_refused = 0;
  uint64_t sleeps = 0;
  uint64_t links_broken = 0;
  uint64_t links_mended = 0;
  Code failure = Code::kOk;

  const StageTotals& of(Stage stage) const { return stages[static_cast<size_t>(stage)]; }
  // Adds what was counted before the communicator was suspended.
  void add(const CommMetrics& earlier);
};

// The text exposition format, version 0.0.4.
std::string prometheus_text(std::span<const CommMetrics> all);

}  // namespace hfr
