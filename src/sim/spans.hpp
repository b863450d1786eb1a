// SpanLog: when each piece of work of some ranks was under way, for a trace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/time.hpp"

namespace hfr::sim {

// Copies in the order of CopyDirection, then the rest.
enum class SpanKind : uint8_t { kCopyIn, kCopyOut, kPush, kGroupAdd, kPull, kAdd, kPut };

struct Span {
  SpanKind kind;
  int rank;
  int number;  // the chunk; of kAdd: the lane
  int peer;    // kPut: to which rank; else -1
  size_t bytes;
  SimTime begin;
  SimTime end;
};

class SpanLog {
 public:
  // Ranks below `num_ranks` are logged.
  explicit SpanLog(int num_ranks) : num_ranks_(num_ranks) {}
  void record(const Span& span) {
    if (span.rank < num_ranks_) spans_.push_back(span);
  }
  const std::vector<Span>& spans() const { return spans_; }

 private:
  const int num_ranks_;
  std::vector<Span> spans_;
};

}  // namespace hfr::sim
