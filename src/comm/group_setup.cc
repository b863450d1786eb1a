#include "comm/group_setup.hpp"

#include <algorithm>
#include <charconv>

namespace hfr {
namespace {

class JoinGroups {
 public:
  JoinGroups(const std::vector<GpuGroups>& planned, CudaGroupSide* side,
             const std::vector<bool>& same_process, uint64_t deadline_ns, Parts& parts)
      : groups_(planned[static_cast<size_t>(parts.shape.node)]),
        side_(side),
        same_process_(same_process),
        deadline_ns_(deadline_ns),
        parts_(parts) {
    for (const auto& group : groups_) {
      auto found = std::find(group.begin(), group.end(), parts.shape.local_rank);
      if (found == group.end()) continue;
      mine_ = &group;
      idx_ = static_cast<size_t>(found - group.begin());
    }
  }

  Status run() {
    HFR_ASSIGN_OR_RETURN(std::vector<std::byte> offer, make_offer());
    HFR_ASSIGN_OR_RETURN(offers_, parts_.membership->all_gather(offer, deadline_ns_,
                                                                "offering memory to its group"));
    std::vector<std::byte*> boxes;
    if (Result<std::vector<std::byte*>> reached = reach(); reached.ok()) {
      boxes = std::move(*reached);
    } else {
      HFR_RETURN_IF_ERROR(give_up(reached.status()));
    }
    const std::vector<std::byte> word = {static_cast<std::byte>(gave_up_ ? 0 : 1)};
    HFR_ASSIGN_OR_RETURN(auto words,
                         parts_.membership->all_gather(word, deadline_ns_, "joining its group"));
    for (int rank : parts_.shape.nodes[static_cast<size_t>(parts_.shape.node)]) {
      if (words[static_cast<size_t>(rank)] != std::vector<std::byte>{std::byte{1}}) return Status();
    }
    parts_.gpu_groups = groups_;
    parts_.boxes = std::move(boxes);
    if (mine_ == nullptr) return Status();
    std::string ranks;
    for (int member : *mine_) ranks += cat(" ", rank_of(member));
    parts_.logger.of(Subsystem::kDevice)
        .log(LogLevel::kInfo, "the GPUs of ranks", ranks, " are a group");
    return Status();
  }

 private:
  Result<std::vector<std::byte>> make_offer() {
    if (mine_ == nullptr) return std::vector<std::byte>();
    std::shared_ptr<void> kept;
    auto offer = side_->offer_boxes(
        Groups::box_bytes(static_cast<int>(mine_->size()), parts_.staging), kept);
    if (offer.ok()) {
      parts_.memory->keep(std::move(kept));
      return offer;
    }
    HFR_RETURN_IF_ERROR(give_up(offer.status()));
    return std::vector<std::byte>();
  }

  Result<std::vector<std::byte*>> reach() {
    if (mine_ == nullptr || gave_up_) return std::vector<std::byte*>();
    CudaGroupSide::Seat seat;
    seat.idx = idx_;
    seat.slot_bytes = parts_.staging.slot_bytes;
    seat.max_blocks = static_cast<int>(parts_.config.gpu_group_blocks);
    for (int member : *mine_) {
      const auto rank = static_cast<size_t>(rank_of(member));
      seat.members.push_back({offers_[rank], same_process_[rank]});
    }
    size_t unreached = 0;
    auto boxes = side_->join(seat, unreached);
    if (boxes.ok()) return boxes;
    return Status(boxes.status().code(), cat("the GPU of rank ", rank_of((*mine_)[unreached]),
                                             " is not reached: ", boxes.status().message()));
  }

  // Found groups can be done without, those that were asked for cannot.
  Status give_up(const Status& status) {
    gave_up_ = true;
    if (parts_.config.gpu_group == "auto") {
      parts_.logger.of(Subsystem::kDevice)
          .log(LogLevel::kInfo, "no group of GPUs: ", status.message());
      return Status();
    }
    return Status(status.code(), cat("HFREDUCE_GPU_GROUP=", parts_.config.gpu_group, ": ",
                                     status.message(), "; set it to 0, or to auto"));
  }

  int rank_of(int local_rank) const {
    return parts_.shape
        .nodes[static_cast<size_t>(parts_.shape.node)][static_cast<size_t>(local_rank)];
  }

  const GpuGroups& groups_;
  CudaGroupSide* const side_;
  const std::vector<bool>& same_process_;
  const uint64_t deadline_ns_;
  Parts& parts_;
  const std::vector<int>* mine_ = nullptr;  // null: this rank is in no group
  size_t idx_ = 0;
  bool gave_up_ = false;
  std::vector<std::vector<std::byte>> offers_;
};

}  // namespace

Result<std::vector<GpuGroups>> plan_gpu_groups(const Shape& shape, const std::string& setting,
                                               const std::vector<GroupFinding>& ranks,
                                               bool is_child) {
  std::vector<GpuGroups> planned(shape.nodes.size());
  if (setting == "0") return planned;
  int size = 0;
  std::from_chars(setting.data(), setting.data() + setting.size(), size);
  for (size_t node = 0; node < shape.nodes.size(); ++node) {
    std::vector<GpuFacts> local;
    int without = -1;
    for (int rank : shape.nodes[node]) {
      const GroupFinding& finding = ranks[static_cast<size_t>(rank)];
      local.push_back(finding.gpu);
      if (!finding.gpu.gpu.empty() && !finding.has_kernels) without = rank;
    }
    if (setting == "auto") {
      if (without < 0) planned[node] = find_gpu_groups(local);
      continue;
    }
    if (without >= 0) {
      return Status(
          Code::kUnsupported,
          cat("HFREDUCE_GPU_GROUP=", size, " needs kernels, but the build of rank ", without,
              " has none; build with nvcc (HFREDUCE_CUDA_KERNELS=ON), or set "
              "HFREDUCE_GPU_GROUP=0"));
    }
    Result<GpuGroups> groups = cut_gpu_groups(local, size);
    if (!groups.ok() && !is_child) return groups.status();
    if (groups.ok()) planned[node] = std::move(*groups);
  }
  return planned;
}

Status join_gpu_groups(const std::vector<GpuGroups>& planned, CudaGroupSide* side,
                       const std::vector<bool>& same_process, uint64_t deadline_ns, Parts& parts) {
  auto has_some = [](const GpuGroups& groups) { return !groups.empty(); };
  if (std::none_of(planned.begin(), planned.end(), has_some)) return Status();
  return JoinGroups(planned, side, same_process, deadline_ns, parts).run();
}

}  // namespace hfr
