#include "engine/group.hpp"

#include <algorithm>

namespace hfr {

Groups::Groups(const std::vector<std::vector<int>>& groups, int me, std::vector<std::byte*> boxes,
               const Staging& staging)
    : groups_(groups),
      places_(static_cast<size_t>(staging.shape().num_local), -1),
      me_(me),
      boxes_(std::move(boxes)),
      slot_bytes_(staging.shape().slot_bytes) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (int rank : groups_[g]) places_[static_cast<size_t>(rank)] = static_cast<int>(g);
  }
  if (!has(me)) return;
  const std::vector<int>& mine = members();
  my_idx_ = static_cast<size_t>(std::find(mine.begin(), mine.end(), me) - mine.begin());
  others_landed_.resize(static_cast<size_t>(staging.shape().window));
  for (int lane = 0; lane < staging.shape().window; ++lane) {
    if (carrier(me, lane) != me) continue;
    for (int member : mine) {
      if (member == me) continue;
      others_landed_[static_cast<size_t>(lane)].push_back(&staging.landed(lane, member));
    }
  }
}

size_t Groups::box_bytes(int group_size, const StagingShape& shape) {
  const int lanes = (shape.window + group_size - 1) / group_size;
  return static_cast<size_t>(lanes * group_size) * shape.slot_bytes;
}

std::byte* Groups::box(int lane, size_t idx) const {
  const size_t size = members().size();
  const auto at = static_cast<size_t>(lane);
  return boxes_[at % size] + (at / size * size + idx) * slot_bytes_;
}

std::byte* Groups::inbox(int lane) const {
  const size_t carrier_idx = static_cast<size_t>(lane) % members().size();
  if (my_idx_ == carrier_idx) return box(lane, 0);
  return box(lane, my_idx_ < carrier_idx ? my_idx_ : my_idx_ - 1);
}

std::byte* Groups::outbox(int lane) const { return box(lane, members().size() - 1); }

}  // namespace hfr
