#include "comm/gpu_mates.hpp"

#include <algorithm>
#include <map>
#include <mutex>

namespace hfr {
namespace {

// Ranks of one process find each other by a number that they have exchanged.
struct Registry {
  std::mutex mutex;
  uint64_t last_key = 0;
  std::map<uint64_t, std::weak_ptr<GpuMates>> mates;
};
Registry& registry() {
  static Registry instance;
  return instance;
}

}  // namespace

Status hand_over_chunks(std::span<UserSide* const> ranks, size_t chunks, size_t window) {
  auto along = [&](const auto& way, size_t idx) {
    for (CopyDirection direction : way) {
      for (UserSide* rank : ranks) HFR_RETURN_IF_ERROR(rank->hand_over_chunk(direction, idx));
      for (UserSide* rank : ranks) HFR_RETURN_IF_ERROR(rank->end_step(direction));
    }
    return Status();
  };
  for (UserSide* rank : ranks) HFR_RETURN_IF_ERROR(rank->begin_chunks());
  for (size_t i = 0; i < chunks + window; ++i) {
    // In a group that is all of the communicator a push waits for the pulls of the lane's previous
    // chunk, and may stand in one hardware queue with them.
    if (i >= window) HFR_RETURN_IF_ERROR(along(kWayBack, i - window));
    if (i < chunks) HFR_RETURN_IF_ERROR(along(kWayThere, i));
  }
  return Status();
}

uint64_t GpuMates::new_key() {
  std::lock_guard lock(registry().mutex);
  return ++registry().last_key;
}

std::shared_ptr<GpuMates> GpuMates::join(uint64_t key, size_t num) {
  std::lock_guard lock(registry().mutex);
  auto& all = registry().mates;
  std::erase_if(all, [](const auto& entry) { return entry.second.expired(); });
  if (auto there = all[key].lock()) return there;
  auto made = std::make_shared<GpuMates>(num);
  all[key] = made;
  return made;
}

void GpuMates::arrive(size_t me, uint64_t op, bool in_stream) {
  Member& member = members_[me];
  member.in_stream[op % kKinds].store(in_stream, std::memory_order_relaxed);
  member.arrived.store(op + 1, std::memory_order_release);
}

bool GpuMates::all_arrived(uint64_t op) const {
  return std::all_of(members_.begin(), members_.end(), [&](const Member& member) {
    return member.arrived.load(std::memory_order_acquire) > op;
  });
}

bool GpuMates::all_in_streams(uint64_t op) const {
  return std::all_of(members_.begin(), members_.end(), [&](const Member& member) {
    return member.in_stream[op % kKinds].load(std::memory_order_relaxed);
  });
}

void GpuMates::push(size_t me, size_t chunks, size_t window) {
  Round& now = round(me);
  const uint32_t before = now.num_pushed.fetch_add(1, std::memory_order_acq_rel);
  if (before + 1 != members_.size()) return;  // not the last one, or somebody has given up
  // All have finished the round before, so the one after the next is nobody's.
  Round& next = rounds_[(members_[me].round + 2) % kRounds];
  next.num_pushed.store(0, std::memory_order_relaxed);
  next.done.store(false, std::memory_order_relaxed);
  now.status = hand_over_chunks(users_, chunks, window);
  now.done.store(true, std::memory_order_release);
}

bool GpuMates::handed_over(size_t me) const {
  return rounds_[members_[me].round % kRounds].done.load(std::memory_order_acquire);
}

bool GpuMates::give_up(size_t me) {
  return round(me).num_pushed.fetch_or(kGivenUp, std::memory_order_acq_rel) != members_.size();
}

Status GpuMates::finish(size_t me) {
  Status status = round(me).status;
  ++members_[me].round;
  return status;
}

}  // namespace hfr
