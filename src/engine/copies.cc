// The lanes path's copies: which of an operation's chunks this rank copies to staging and from it,
// and on which counters they wait.
//
// Where ranks of several processes share a GPU, its copy engine does one process's copies for as
// long as they may go, and then the next one's. A chunk is added when the last rank's part of it is
// there: with one rank a window ahead of another, a whole window's chunks become complete at once,
// and the adds wait for the copies and the copies for the adds. So ranks keep step: each copies
// EngineLimits::copy_step chunks to staging, handed over together, and goes on when all of them
// have come as far. Each still waits only for chunks before its own: hardware queues move on as
// before (docs/cuda.md).
//
// Where nobody shares a GPU, copies keep step with the adds: they are EngineLimits::copies_ahead
// chunks ahead of them at most, while what they bring is still in the last cache (docs/cuda.md).
#include "engine/executor.hpp"

namespace hfr {
namespace {

// An operation of so few chunks takes them one at a time: it is over before larger steps pay for
// the longer wait for the first one.
constexpr uint64_t kFewChunks = 8;

}  // namespace

size_t Executor::num_copies(size_t bytes, Op op, bool in_graph) const {
  return static_cast<size_t>(plan(bytes, op, in_graph).num_chunks);
}

bool Executor::all_fed() const {
  for (uint64_t n = completed_.load(std::memory_order_relaxed);
       n < submitted_.load(std::memory_order_relaxed); ++n) {
    const Operation& o = op(n);
    if (o.desc.graph != nullptr) continue;  // the graph has them
    if (o.desc.bounced ? !o.desc.gated && o.state < OpState::kLeaving
                       : is_staged(o) && !o.all_fed())
      return false;
  }
  return true;
}

void Executor::submit_early(uint64_t number) {
  Operation& o = op(number);
  UserSide& user = *context_.device.user_side();
  for (CopyDirection direction : kAllDirections) {
    for (uint64_t& idx = o.fed_to(direction); idx < o.num_chunks; ++idx) {
      const auto next = copy(o, direction, idx);
      if (!next) continue;
      user.submit_early(direction, *next);
      note_copy(direction, *next);
    }
  }
  o.copy_out_end = o.first_chunk + o.num_chunks;
}

void Executor::note_copy(CopyDirection direction, const CopyDescriptor& copy) {
  if (context_.trace != nullptr) context_.trace->watch(direction, copy);
  if (context_.recorder != nullptr) context_.recorder->watch(direction, copy);
  if (direction == CopyDirection::kIn) meters_.of(Stage::kCopyIn).count(copy.bytes);
  if (direction == CopyDirection::kOut) meters_.of(Stage::kCopyOut).count(copy.bytes);
}

void Executor::decide(uint64_t number, bool early) {
  Operation& o = op(number);
  o.desc.undecided = false;
  o.desc.gated = early;
  if (early && !o.desc.bounced) submit_early(number);
}

uint64_t Executor::copies_together(const Operation& o) const {
  if (o.chunking.num_chunks <= kFewChunks) return 1;
  return sharers_landed_.empty() ? context_.limits.copies_together : context_.limits.copy_step;
}

StepGate Executor::step_gate(const Operation& o, uint64_t idx, uint64_t chunk) const {
  const uint64_t step = copies_together(o);
  if (!sharers_landed_.empty()) {
    if (idx < step) return {};
    return {sharers_landed_[(chunk - step) % sharers_landed_.size()], chunk - step + 1};
  }
  // All that go together wait for what the last of them does. Of this operation's chunks only: one
  // before it, in a group of GPUs, may wait for copies that are handed over later.
  const uint64_t ahead = context_.limits.copies_ahead;
  const uint64_t last = idx - idx % step + step - 1;
  if (added_.empty() || last < ahead || ahead < step) return {};
  const uint64_t awaited = chunk - idx + last - ahead;
  return {std::span(added_).subspan(awaited % added_.size(), 1), awaited + 1};
}

bool Executor::more_in_step(const Operation& o, uint64_t idx) const {
  const uint64_t step = copies_together(o);
  return (idx + 1) % step != 0 && idx + 1 < o.num_chunks;
}

CopyDescriptor Executor::copy_in(const Operation& o, uint64_t idx) const {
  const Staging& staging = context_.staging;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % window);
  CopyDescriptor copy;
  copy.dst = staging.input(lane, me_);
  copy.src = static_cast<const std::byte*>(o.desc.send) + o.chunk_offset(chunk);
  copy.bytes = o.chunk_size(chunk);
  if (chunk >= window) {
    copy.wait = &staging.added(lane);
    copy.wait_value = chunk - window + 1;
  }
  copy.step = step_gate(o, idx, chunk);
  copy.more = more_in_step(o, idx);
  copy.signal = &staging.landed(lane, me_);
  copy.signal_value = chunk + 1;
  if (context_.checksum != nullptr) copy.leave_checksum = &staging.input_checksum(lane, me_);
  return copy;
}

CopyDescriptor Executor::copy_out(const Operation& o, uint64_t idx) const {
  const Staging& staging = context_.staging;
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % static_cast<uint64_t>(staging.shape().window));
  CopyDescriptor copy;
  copy.dst = static_cast<std::byte*>(o.desc.recv) + o.chunk_offset(chunk);
  copy.src = staging.result(lane);
  copy.bytes = o.chunk_size(chunk);
  copy.wait = &staging.published(lane);
  copy.wait_value = chunk + 1;
  copy.more = more_in_step(o, idx);
  copy.signal = &staging.drained(lane, me_);
  copy.signal_value = chunk + 1;
  if (context_.checksum != nullptr) copy.expect_checksum = &staging.result_checksum(lane);
  copy.streaming = o.bytes >= context_.limits.streaming_bytes;
  return copy;
}

std::optional<CopyDescriptor> Executor::copy(const Operation& o, CopyDirection direction,
                                             uint64_t idx) const {
  if (in_group(o)) return group_copy(o, direction, idx);
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % static_cast<uint64_t>(context_.staging.shape().window));
  const bool in_place = context_.device.host_accessible();
  const bool own_lane = in_place && lane % num_local_ == me_;
  if (direction == CopyDirection::kIn) {
    // My own entry of sends is my own buffer when the CPU can read it; peers see the post.
    const bool peers_read = in_place && (context_.staging.post(me_, o.number).flags &
                                         (Post::kSendDirect | Post::kPublished)) != 0;
    if (own_lane || peers_read) return std::nullopt;
    return copy_in(o, idx);
  }
  if (own_lane && context_.owner_keeps_result() &&
      has_final_add(o.schedule(chunk, context_.schedules.butterfly))) {
    return std::nullopt;
  }
  return copy_out(o, idx);
}

void Executor::begin_feeding(Operation& o) const {
  const bool all_in_place = context_.device.host_accessible() && num_local_ == 1;
  o.fed.fill(all_in_place ? o.num_chunks : 0);
  if (in_group(o)) return;
  for (CopyDirection none : {CopyDirection::kPush, CopyDirection::kAdd, CopyDirection::kPull})
    o.fed_to(none) = o.num_chunks;
}

bool Executor::feed_copies(Operation& o) {
  if (o.all_fed() && o.desc.graph == nullptr) return false;
  if (o.desc.graph != nullptr) return feed_graph(o);
  bool moved = false;
  for (CopyDirection direction : kAllDirections) {
    const bool to_result = direction == (in_group(o) ? CopyDirection::kPull : CopyDirection::kOut);
    for (uint64_t& idx = o.fed_to(direction); idx < o.num_chunks; ++idx, moved = true) {
      const auto next = copy(o, direction, idx);
      if (!next) continue;
      if (!context_.device.submit(direction, *next)) break;
      note_copy(direction, *next);
      if (to_result) o.copy_out_end = o.first_chunk + idx + 1;
    }
  }
  return moved;
}

}  // namespace hfr
