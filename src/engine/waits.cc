// What an operation waits for, in words, and when that has gone on for too long.
#include "base/text.hpp"
#include "engine/executor.hpp"

namespace hfr {
namespace {

// A lost peer may only be the messenger of another rank's failure: the control plane gets this long
// to tell.
constexpr uint64_t kLostPeerGraceNs = 300'000'000;

}  // namespace

Wait Executor::what_waits(const Operation& o) const {
  const Shape& shape = context_.shape;
  auto rank_of = [&](int local) { return shape.nodes[static_cast<size_t>(shape.node)][local]; };
  if (o.state == OpState::kPosted) return {rank_of(o.posts_seen), WaitStage::kStarting};
  if (o.state >= OpState::kAdded) return {};
  if (o.path != OpPath::kLanes) {
    for (int r = 0; r < num_local_; ++r) {
      const Counter& counter =
          o.path == OpPath::kFlat ? context_.staging.read(r) : context_.staging.sliced(r);
      if (counter.load() < o.number + 1) return {rank_of(r), WaitStage::kAddingPart};
    }
    return {};
  }
  // The earliest: what is later may wait because of it.
  Wait earliest;
  for (const Lane& lane : lanes_) {
    if (!o.has_chunk(lane.chunk())) continue;
    const Wait wait = lane.waits_for(o);
    if (wait.rank < 0 || wait.rank == shape.rank) continue;
    if (earliest.rank < 0 || wait.chunk < earliest.chunk) earliest = wait;
  }
  if (earliest.rank >= 0) return earliest;
  // Nothing of my own is held up, so it is another owner's sum, or a slot, that does not come.
  const auto window = static_cast<uint64_t>(context_.staging.shape().window);
  for (uint64_t chunk = o.first_chunk; chunk < o.first_chunk + o.num_chunks; ++chunk) {
    int lane = static_cast<int>(chunk % window);
    if (context_.staging.published(lane).load() >= chunk + 1) {
      if (o.stays_inside) continue;
      const int carrier = in_group(o) ? context_.groups.carrier(me_, lane) : me_;
      if (carrier == me_ || context_.staging.carried(lane, carrier).load() >= chunk + 1) continue;
      return {rank_of(carrier), WaitStage::kCarrying, chunk - o.first_chunk, o.num_chunks};
    }
    return {shape.owner(shape.node, lane), WaitStage::kSum, chunk - o.first_chunk, o.num_chunks};
  }
  return {};
}

std::optional<Stall> Executor::check(uint64_t now_ns) {
  if (failed()) return std::nullopt;
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  const uint64_t submitted = submitted_.load(std::memory_order_relaxed);
  for (uint64_t n = completed; n < submitted; ++n) {
    Operation& o = op(n);
    if (o.started_ns == 0 && input_ready(o)) o.started_ns = now_ns;
  }
  if (completed == submitted) return std::nullopt;
  // An input that has not come for so long may have died with its device.
  Operation& oldest_op = op(completed);
  if (oldest_op.submitted_ns == 0) oldest_op.submitted_ns = now_ns;
  const bool late = now_ns > oldest_op.submitted_ns + context_.limits.timeout_ns;
  if (Status health = context_.device.health(late && oldest_op.started_ns == 0); !health.ok()) {
    fail_device(health);
    return std::nullopt;
  }
  if (late && oldest_op.started_ns == 0) oldest_op.submitted_ns = now_ns;
  const Operation& first = op(completed);
  record_wait(first, now_ns);
  if (any_lost_ && first.state == OpState::kRunning && first.path == OpPath::kLanes) {
    for (const Lane& lane : lanes_) {
      if (!first.has_chunk(lane.chunk())) continue;
      const Wait wait = lane.waits_for(first);
      if (wait.rank < 0) continue;
      uint64_t since = lost_since_ns_[static_cast<size_t>(wait.rank)];
      if (since != 0 && now_ns > since + kLostPeerGraceNs) {
        return Stall{true, wait, operation_text(first), context_.transport->peer_error(wait.rank),
                     first.number};
      }
    }
  }
  if (first.started_ns == 0 || now_ns < first.started_ns + context_.limits.timeout_ns)
    return std::nullopt;
  return oldest();
}

void Executor::record_wait(const Operation& o, uint64_t now_ns) {
  if (context_.recorder == nullptr) return;
  const bool no_input = o.started_ns == 0;
  const uint64_t since_ns = no_input ? o.submitted_ns : o.started_ns;
  if (now_ns < since_ns + Recorder::kLongWaitNs) return;
  const Wait wait = no_input ? Wait{context_.shape.rank, WaitStage::kStream} : what_waits(o);
  context_.recorder->waits(o.number, since_ns, now_ns, wait);
}

std::optional<Stall> Executor::oldest() const {
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  if (completed == submitted_.load(std::memory_order_relaxed)) return std::nullopt;
  const Operation& first = op(completed);
  return Stall{false, first.state == OpState::kQueued ? Wait{} : what_waits(first),
               operation_text(first), "", first.number};
}

}  // namespace hfr
