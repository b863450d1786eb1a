#include "sim/sim_device.hpp"

#include <cstring>

namespace hfr::sim {
namespace {

// Events: a direction, and whether its copy begins to flow or has flowed.
enum What : uint64_t { kBegin = 0, kEnd = 1 };
uint64_t event(CopyDirection direction, What what) {
  return 2 * static_cast<uint64_t>(direction) + what;
}

}  // namespace

bool SimDevice::submit(CopyDirection direction, const CopyDescriptor& copy) {
  Queue& queue = queues_[static_cast<size_t>(direction)];
  if (queue.copies.size() == kCapacity) {
    refused_ = true;
    return false;
  }
  queue.copies.push_back(copy);
  if (queue.copies.size() == queue.under_way + 1) look(direction);
  return true;
}

void SimDevice::look() {
  for (CopyDirection direction : kAllDirections) look(direction);
}

void SimDevice::look(CopyDirection direction) {
  Queue& queue = queues_[static_cast<size_t>(direction)];
  if (queue.team != nullptr) return queue.team->look();
  if (queue.under_way > 0 || next_offer(direction) == nullptr) return;
  take_offer(direction);
  const double overhead_us = host_accessible() ? 0 : parts_.machine.cluster().node.copy_overhead_us;
  parts_.loop.in(from_us(overhead_us), *this, event(direction, kBegin));
}

const CopyDescriptor* SimDevice::next_offer(CopyDirection direction) const {
  const Queue& queue = queues_[static_cast<size_t>(direction)];
  if (queue.under_way == queue.copies.size()) return nullptr;
  const CopyDescriptor& copy = queue.copies[queue.under_way];
  return copy.may_go() ? &copy : nullptr;
}

void SimDevice::take_offer(CopyDirection direction) {
  Queue& queue = queues_[static_cast<size_t>(direction)];
  if (queue.under_way++ == 0) queue.began = parts_.loop.now();
}

void SimDevice::cancel() {
  // What is under way ends without anybody looking.
  cancelled_ = true;
  for (Queue& queue : queues_) {
    queue.copies.clear();
    queue.under_way = 0;
  }
}

Path SimDevice::path(CopyDirection direction, const CopyDescriptor& copy) const {
  const int node = place_.node;
  const int me = place_.local_rank;
  const int lane = parts_.staging.lane_of(*copy.signal);
  switch (direction) {
    case CopyDirection::kIn:
      return parts_.machine.copy_in(node, me);
    case CopyDirection::kOut:
      return parts_.machine.copy_out(node, me, lane % parts_.num_local);
    case CopyDirection::kPush:
      return parts_.machine.group_copy(node, me, groups_->carrier(me, lane));
    case CopyDirection::kAdd:
      return parts_.machine.group_add(node, me, static_cast<int>(groups_->members().size()));
    case CopyDirection::kPull:
      return parts_.machine.group_copy(node, groups_->carrier(me, lane), me);
  }
  return {};
}

void SimDevice::on_event(uint64_t what) {
  if (cancelled_) return;
  const auto direction = static_cast<CopyDirection>(what / 2);
  if (what % 2 == kEnd) return finish(direction);
  const CopyDescriptor& copy = queues_[static_cast<size_t>(direction)].copies.front();
  parts_.loop.flow(path(direction, copy).uses(), copy.bytes, *this, event(direction, kEnd));
}

void SimDevice::finish(CopyDirection direction) {
  if (cancelled_) return;
  Queue& queue = queues_[static_cast<size_t>(direction)];
  const CopyDescriptor copy = queue.copies.front();
  if (parts_.adds != nullptr) move_bytes(direction, copy);
  queue.copies.pop_front();
  --queue.under_way;
  copy.signal->store(copy.signal_value);
  if (parts_.log != nullptr) {
    parts_.log->record({static_cast<SpanKind>(direction), place_.rank,
                        static_cast<int>(copy.signal_value - 1), -1, copy.bytes, queue.began,
                        parts_.loop.now()});
  }
  queue.began = parts_.loop.now();
  if (queue.team == nullptr) look(direction);
  parts_.wakes.counter_moved(place_.rank, *copy.signal);
  const bool to_result = direction == CopyDirection::kOut || direction == CopyDirection::kPull;
  if (refused_ || to_result) {
    refused_ = false;
    parts_.wakes.wake(place_.rank);
  }
}

void SimDevice::move_bytes(CopyDirection direction, const CopyDescriptor& copy) const {
  if (direction != CopyDirection::kAdd) {
    std::memcpy(copy.dst, copy.src, copy.bytes);
    return;
  }
  // The others' inputs follow each other from dst on; the sum is in the order of the members.
  ReduceDescriptor work;
  work.dsts[0] = copy.dst;
  work.num_dsts = 1;
  const auto* other = static_cast<const std::byte*>(copy.dst);
  for (int member : groups_->members()) {
    const bool mine = member == place_.local_rank;
    work.srcs[work.num_srcs++] = mine ? copy.src : other;
    if (!mine) other += parts_.slot_bytes;
  }
  work.count = copy.bytes / dtype_size(copy.dtype);
  work.dtype = copy.dtype;
  work.op = copy.op;
  work.divisor = copy.divisor;
  parts_.adds->run(work);
}

}  // namespace hfr::sim
