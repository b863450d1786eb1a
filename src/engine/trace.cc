#include "engine/trace.hpp"

#include <array>

#include "base/text.hpp"

namespace hfr {
namespace {

constexpr std::array<const char*, kNumTraceStages> kStageNames = {"copy-in",
                                                                  "copy-out",
                                                                  "push",
                                                                  "group add",
                                                                  "pull",
                                                                  "add",
                                                                  "send",
                                                                  "wait for input",
                                                                  "wait for slot",
                                                                  "wait for partial sum",
                                                                  "wait for final value"};
static_assert(static_cast<size_t>(TraceStage::kAdd) == kNumDirections);

std::string microseconds(uint64_t ns) {
  return cat(ns / 1000, ".", std::to_string(1000 + ns % 1000).substr(1));
}

}  // namespace

void Trace::look() {
  copies_.look(clock_, [this](CopyDirection direction, const CopyDescriptor& copy,
                              uint64_t begin_ns, uint64_t end_ns) {
    record(static_cast<TraceStage>(direction), copy.signal_value - 1, copy.bytes, begin_ns, end_ns);
  });
}

std::string Trace::text(int rank, const std::string& name, const TraceClock& clock) const {
  std::string result =
      cat(R"([{"ph":"M","name":"process_name","pid":)", rank, R"(,"args":{"name":")", name, "\"}}");
  result += cat(",\n", R"({"ph":"M","name":"process_sort_index","pid":)", rank,
                R"(,"args":{"sort_index":)", rank, "}}");
  result +=
      cat(",\n", R"({"ph":"M","name":"hfreduce_clock","pid":)", rank, R"(,"args":{"machine":")",
          clock.machine, R"(","to_realtime_ns":)", clock.to_realtime_ns, "}}");
  for (size_t stage = 0; stage < kStageNames.size(); ++stage) {
    result += cat(",\n", R"({"ph":"M","name":"thread_name","pid":)", rank, R"(,"tid":)", stage,
                  R"(,"args":{"name":")", kStageNames[stage], "\"}}");
  }
  const uint64_t first = num_spans_ < kCapacity ? 0 : num_spans_ - kCapacity;
  for (uint64_t i = first; i < num_spans_; ++i) {
    const Span& span = spans_[i % kCapacity];
    const auto stage = static_cast<size_t>(span.stage);
    result += cat(",\n", R"({"ph":"X","name":")", kStageNames[stage], R"(","pid":)", rank,
                  R"(,"tid":)", stage, R"(,"ts":)", microseconds(span.begin_ns), R"(,"dur":)",
                  microseconds(span.end_ns - span.begin_ns), R"(,"args":{"chunk":)", span.chunk,
                  R"(,"bytes":)", span.bytes, "}}");
  }
  return result + "]\n";
}

}  // namespace hfr
