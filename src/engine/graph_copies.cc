// The lanes path for an operation whose copies stand in a graph. The graph's copies signal words of
// their own, as a counter's next value is no constant: the engine opens a copy's gate when the
// counter that it waits for is there, and advances the counter that it signals when it has
// finished.
#include "engine/executor.hpp"

namespace hfr {

void Executor::list_graph_copies(const OpDescriptor& desc, GraphRequest& request) const {
  Operation o;  // as it is when its first chunk takes the first lane
  o.desc = desc;
  o.bytes = desc.count * dtype_size(desc.dtype);
  o.chunking = plan(o.bytes, o.desc.op, true);
  o.num_chunks = o.chunking.num_chunks;
  for (uint64_t i = 0; i < o.num_chunks; ++i) {
    request.in.push_back(copy_in(o, i));
    request.out.push_back(copy_out(o, i));
  }
}

bool Executor::feed_graph(Operation& o) {
  const Staging& staging = context_.staging;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t& copied_in = o.fed_to(CopyDirection::kIn);
  const uint64_t& copied_out = o.fed_to(CopyDirection::kOut);
  bool moved = false;
  // What was copied, in order: the counter that each lane's copies advance follows.
  auto see = [&](uint64_t& seen, uint64_t copied, std::span<Gate> gates, auto&& counter) {
    for (; seen < copied; ++seen, moved = true) {
      if (seen < o.num_empty) continue;
      if (!gates[seen - o.num_empty].take()) break;
      const uint64_t chunk = o.first_chunk + seen;
      counter(static_cast<int>(chunk % window)).store(chunk + 1);
    }
  };
  while (copied_in < o.num_chunks && open_gate_in(o)) moved = true;
  see(o.seen_in, copied_in, o.desc.graph->in,
      [&](int lane) -> Counter& { return staging.landed(lane, me_); });
  while (copied_out < o.num_chunks && open_gate_out(o)) moved = true;
  see(o.seen_out, copied_out, o.desc.graph->out,
      [&](int lane) -> Counter& { return staging.drained(lane, me_); });
  return moved;
}

bool Executor::open_gate_in(Operation& o) {
  const Staging& staging = context_.staging;
  uint64_t& copied_in = o.fed_to(CopyDirection::kIn);
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t chunk = o.first_chunk + copied_in;
  const auto lane = static_cast<int>(chunk % window);
  if (chunk >= window && staging.added(lane).load() < chunk - window + 1) return false;
  if (copied_in >= o.num_empty) {
    const uint64_t idx = copied_in - o.num_empty;
    if (!step_gate(o, idx, chunk).is_open()) return false;
    o.desc.graph->in[idx].open();
    meters_.of(Stage::kCopyIn).count(o.chunk_size(chunk));
  }
  ++copied_in;
  return true;
}

bool Executor::open_gate_out(Operation& o) {
  const Staging& staging = context_.staging;
  uint64_t& copied_out = o.fed_to(CopyDirection::kOut);
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t chunk = o.first_chunk + copied_out;
  const auto lane = static_cast<int>(chunk % window);
  if (copied_out < o.num_empty) {
    // The lane's chunk before: its copy may still be under way.
    Counter& drained = staging.drained(lane, me_);
    if (chunk >= window && drained.load() < chunk - window + 1) return false;
    drained.store(chunk + 1);
  } else {
    if (staging.published(lane).load() < chunk + 1) return false;
    o.desc.graph->out[copied_out - o.num_empty].open();
    meters_.of(Stage::kCopyOut).count(o.chunk_size(chunk));
  }
  ++copied_out;
  return true;
}

}  // namespace hfr
