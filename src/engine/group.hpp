// Groups: which GPUs of a node add among themselves before the CPU does, who carries which lane for
// its group, and where the boxes are (docs/cuda.md). A value, fixed at set-up.
//
// A member's boxes, in its GPU's memory, for each lane that it carries: one inbox for every other
// member, then the outbox.
//
//   group of 4, member 1:   lane 1 | in 0 | in 2 | in 3 | out |   lane 5 | in 0 | ...
#pragma once

#include <cstddef>
#include <vector>

#include "base/counter.hpp"
#include "engine/staging.hpp"

namespace hfr {

class Groups {
 public:
  Groups() = default;
  // `groups`: local ranks, ascending. `boxes`: each member's of `me`'s group, as `me`'s GPU calls
  // them; empty when it is in none.
  Groups(const std::vector<std::vector<int>>& groups, int me, std::vector<std::byte*> boxes,
         const Staging& staging);

  static size_t box_bytes(int group_size, const StagingShape& shape);

  bool any() const { return !groups_.empty(); }
  bool has(int local_rank) const { return any() && place(local_rank) >= 0; }
  // One group is all of the node.
  bool covers_node() const { return groups_.size() == 1 && groups_[0].size() == places_.size(); }
  // Who copies lane `lane` to staging and back for `local_rank`: itself when it is in no group.
  int carrier(int local_rank, int lane) const {
    return has(local_rank) ? carrier_of(group_of(local_rank), lane) : local_rank;
  }
  // Its group's input is added in its place.
  bool is_first(int local_rank) const {
    return !has(local_rank) || group_of(local_rank).front() == local_rank;
  }

  // Of `me`, which is in a group.
  const std::vector<int>& members() const { return group_of(me_); }
  // At the lane's carrier: where `me`'s input goes. At `me`, when it is the carrier: the first one.
  std::byte* inbox(int lane) const;
  // At the lane's carrier: where the sum comes to be.
  std::byte* first_inbox(int lane) const { return box(lane, 0); }
  // Of the lane's carrier.
  std::byte* outbox(int lane) const;
  // The other members' landed counters of a lane that `me` carries.
  const std::vector<const Counter*>& landed_of_others(int lane) const {
    return others_landed_[static_cast<size_t>(lane)];
  }

 private:
  // Which group; -1: none.
  int place(int local_rank) const { return places_[static_cast<size_t>(local_rank)]; }
  const std::vector<int>& group_of(int local_rank) const {
    return groups_[static_cast<size_t>(place(local_rank))];
  }
  static int carrier_of(const std::vector<int>& group, int lane) {
    return group[static_cast<size_t>(lane) % group.size()];
  }
  // The idx-th one that the lane's carrier keeps for it.
  std::byte* box(int lane, size_t idx) const;

  std::vector<std::vector<int>> groups_;
  std::vector<int> places_;  // by local rank
  int me_ = 0;
  size_t my_idx_ = 0;  // in my group
  std::vector<std::byte*> boxes_;
  size_t slot_bytes_ = 0;
  std::vector<std::vector<const Counter*>> others_landed_;  // by lane
};

}  // namespace hfr
