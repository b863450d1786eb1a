// The lanes path's copies of a rank in a group of GPUs (group.hpp, docs/cuda.md): inputs go to the
// lane's carrier, which takes the group's sum to staging and brings the result back.
#include "engine/executor.hpp"

namespace hfr {

std::optional<CopyDescriptor> Executor::group_copy(const Operation& o, CopyDirection direction,
                                                   uint64_t idx) const {
  const Staging& staging = context_.staging;
  const Groups& groups = context_.groups;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % window);
  const int carrier = groups.carrier(me_, lane);
  const bool through_staging = direction == CopyDirection::kIn || direction == CopyDirection::kOut;
  if (through_staging && o.stays_inside) return std::nullopt;
  // All pull; the carrier does not push, and does all the rest.
  if (direction != CopyDirection::kPull &&
      (direction == CopyDirection::kPush) == (carrier == me_)) {
    return std::nullopt;
  }

  const size_t offset = o.chunk_offset(chunk);
  const std::byte* input = static_cast<const std::byte*>(o.desc.send) + offset;
  CopyDescriptor copy;
  copy.bytes = o.chunk_size(chunk);
  copy.wait_value = copy.signal_value = chunk + 1;
  switch (direction) {
    case CopyDirection::kPush:
      copy.src = input;
      copy.dst = groups.inbox(lane);
      if (chunk >= window) {
        copy.wait = &staging.added(lane);
        copy.wait_value = chunk - window + 1;
      }
      copy.signal = &staging.landed(lane, me_);
      break;
    case CopyDirection::kAdd:
      copy.src = input;
      copy.dst = groups.inbox(lane);
      copy.wait = groups.landed_of_others(lane).front();
      copy.wait_also = std::span(groups.landed_of_others(lane)).subspan(1);
      copy.signal = &staging.summed(lane, me_);
      copy.dtype = o.desc.dtype;
      copy.op = o.desc.op;
      copy.divisor = o.stays_inside ? context_.shape.num_ranks : 1;
      break;
    case CopyDirection::kIn:
      copy.src = groups.inbox(lane);
      copy.dst = staging.input(lane, me_);
      copy.wait = &staging.summed(lane, me_);
      copy.signal = &staging.landed(lane, me_);
      break;
    case CopyDirection::kOut:
      copy.src = staging.result(lane);
      copy.dst = groups.outbox(lane);
      copy.wait = &staging.published(lane);
      copy.signal = &staging.carried(lane, me_);
      break;
    case CopyDirection::kPull:
      copy.src = o.stays_inside ? groups.first_inbox(lane) : groups.outbox(lane);
      copy.dst = static_cast<std::byte*>(o.desc.recv) + offset;
      copy.wait = o.stays_inside ? &staging.summed(lane, carrier) : &staging.carried(lane, carrier);
      copy.signal = &staging.drained(lane, me_);
      break;
  }
  return copy;
}

bool Executor::boxes_free() const {
  const Groups& groups = context_.groups;
  if (!groups.has(me_)) return true;
  for (int lane = 0; lane < context_.staging.shape().window; ++lane) {
    const uint64_t summed = context_.staging.summed(lane, me_).load();
    for (int member : groups.members()) {
      if (context_.staging.drained(lane, member).load() < summed) return false;
    }
  }
  return true;
}

}  // namespace hfr
