#include "device/cuda/gpu_group.hpp"

namespace hfr {

Result<std::vector<std::byte>> GpuGroup::offer_boxes(size_t bytes, std::shared_ptr<void>& kept) {
  HFR_ASSIGN_OR_RETURN(boxes_, Boxes::make(context_, bytes));
  kept = boxes_;
  return boxes_->offer();
}

Result<std::vector<std::byte*>> GpuGroup::join(const CudaGroupSide::Seat& seat, size_t& unreached) {
  std::vector<std::byte*> all;
  for (size_t i = 0; i < seat.members.size(); ++i) {
    if (i == seat.idx) {
      all.push_back(boxes_->data());
      continue;
    }
    const CudaGroupSide::Seat::Member& member = seat.members[i];
    unreached = i;
    HFR_ASSIGN_OR_RETURN(auto peer,
                         PeerBoxes::reach(context_, member.offer, member.same_process, *boxes_));
    crosses_processes_ |= !member.same_process;
    all.push_back(peer->data());
    peers_.push_back(std::move(peer));
  }
  unreached = seat.idx;
  GroupKernel::Seat place;
  place.num_members = static_cast<int>(seat.members.size());
  place.idx = static_cast<int>(seat.idx);
  place.slot_bytes = seat.slot_bytes;
  place.max_blocks = seat.max_blocks;
  HFR_ASSIGN_OR_RETURN(kernel_, GroupKernel::load(context_, place));
  return all;
}

void GpuGroup::leave_boxes() {
  if (crosses_processes_) new std::shared_ptr<Boxes>(boxes_);
}

}  // namespace hfr
