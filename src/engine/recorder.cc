#include "engine/recorder.hpp"

#include <algorithm>
#include <cstring>

namespace hfr {
namespace {

uint64_t pack_rank(int rank, uint8_t stage) { return static_cast<uint64_t>(rank + 1) << 8 | stage; }

void put(std::atomic<uint64_t>& word, uint64_t value) {
  word.store(value, std::memory_order_relaxed);
}

}  // namespace

void write_wait(record::WaitCell& cell, uint64_t operation, uint64_t since_ns, uint64_t now_ns,
                const Wait& wait) {
  const uint64_t seq = cell.seq.load(std::memory_order_relaxed);
  put(cell.seq, seq + 1);
  std::atomic_thread_fence(std::memory_order_release);
  put(cell.operation, operation);
  put(cell.since_ns, since_ns);
  put(cell.looked_ns, now_ns);
  put(cell.rank_and_stage, pack_rank(wait.rank, static_cast<uint8_t>(wait.stage)));
  put(cell.chunk, wait.chunk);
  put(cell.num_chunks, wait.num_chunks);
  cell.seq.store(seq + 2, std::memory_order_release);
}

void Recorder::span(const Timed& timed, uint64_t begin_ns, uint64_t end_ns) {
  // What is overwritten in the ring changes after the count that said so far.
  std::atomic_thread_fence(std::memory_order_release);
  record::Span& span = file_.spans[num_spans_ % record::kNumSpans];
  put(span.number_plus_one, num_spans_ + 1);
  put(span.stage_and_rank, pack_rank(timed.rank, static_cast<uint8_t>(timed.stage)));
  put(span.operation, timed.operation);
  put(span.chunk, timed.chunk);
  put(span.bytes, timed.bytes);
  put(span.begin_ns, begin_ns);
  put(span.end_ns, end_ns);
  file_.num_spans.value.store(++num_spans_, std::memory_order_release);
}

void Recorder::look() {
  copies_.look(clock_, [this](CopyDirection direction, const CopyDescriptor& copy,
                              uint64_t begin_ns, uint64_t end_ns) {
    // The first operation that is open, as the copy does not know its own.
    const uint64_t operation = file_.progress.completed.load(std::memory_order_relaxed);
    span({static_cast<record::SpanStage>(direction), -1, operation, copy.signal_value - 1,
          copy.bytes},
         begin_ns, end_ns);
  });
}

void Recorder::failed(const Failure& failure) {
  record::Ending& ending = file_.ending;
  if (ending.state.load(std::memory_order_relaxed) != 0) return;
  const std::string& text = failure.status.message();
  const size_t size = std::min(text.size(), record::kTextBytes - 1);
  std::memcpy(ending.text, text.data(), size);
  ending.text[size] = '\0';
  ending.code = static_cast<int32_t>(failure.status.code());
  ending.rank = failure.rank;
  ending.at_ns = now_ns();
  ending.state.store(static_cast<uint32_t>(record::EndState::kFailed), std::memory_order_release);
}

void Recorder::destroyed() {
  file_.ending.state.store(static_cast<uint32_t>(record::EndState::kDestroyed),
                           std::memory_order_release);
}

}  // namespace hfr
