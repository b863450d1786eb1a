#include "engine/trace.hpp"

#include <algorithm>

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

void Trace::watch(CopyDirection direction, const CopyDescriptor& copy) {
  Watched& watched = watched_[static_cast<size_t>(direction)];
  if (watched.queued - watched.ended == kWatched) return;
  watched.copies[watched.queued++ % kWatched].copy = copy;
}

void Trace::look() {
  for (CopyDirection direction : kAllDirections) {
    Watched& watched = watched_[static_cast<size_t>(direction)];
    const auto stage = static_cast<TraceStage>(direction);
    for (; watched.may_go < watched.queued; ++watched.may_go) {
      Watched::Copy& next = watched.copies[watched.may_go % kWatched];
      if (!next.copy.may_go()) break;
      next.may_go_ns = now_ns();
    }
    for (; watched.ended < watched.may_go; ++watched.ended) {
      const Watched::Copy& first = watched.copies[watched.ended % kWatched];
      if (first.copy.signal->load() < first.copy.signal_value) break;
      const uint64_t begin_ns = std::max(first.may_go_ns, watched.last_end_ns);
      watched.last_end_ns = now_ns();
      record(stage, first.copy.signal_value - 1, first.copy.bytes, begin_ns, watched.last_end_ns);
    }
  }
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
