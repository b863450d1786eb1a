#include "device/cuda/copy_team.hpp"

#include <algorithm>

#include "base/waiter.hpp"

namespace hfr {

Result<std::shared_ptr<CopyTeam>> CopyTeam::make(std::shared_ptr<const CudaContext> context,
                                                 CopyDirection direction, uint64_t to_device) {
  std::shared_ptr<CopyTeam> team(new CopyTeam(std::move(context), direction, to_device));
  const Driver& driver = team->context_->driver();
  ContextScope scope(*team->context_);
  HFR_RETURN_IF_ERROR(
      driver.status("cuStreamCreate",
                    driver.cuStreamCreateWithPriority(&team->stream_, CU_STREAM_NON_BLOCKING, 0)));
  void* memory = nullptr;
  HFR_RETURN_IF_ERROR(
      driver.status("cuMemHostAlloc",
                    driver.cuMemHostAlloc(&memory, sizeof(*team->turn_),
                                          CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)));
  team->turn_ = new (memory) std::atomic<uint64_t>(0);
  HFR_RETURN_IF_ERROR(
      driver.status("cuMemHostGetDevicePointer",
                    driver.cuMemHostGetDevicePointer(&team->turn_on_device_, memory, 0)));
  return team;
}

CopyTeam::~CopyTeam() {
  ContextScope scope(*context_);
  if (stream_ != nullptr) context_->driver().cuStreamDestroy(stream_);
  if (turn_ != nullptr) context_->driver().cuMemFreeHost(turn_);
}

void CopyTeam::lock() {
  while (busy_.exchange(true, std::memory_order_acquire)) Waiter::relax();
}

void CopyTeam::join(CopyOffers* member) {
  lock();
  members_.push_back(member);
  num_members_.store(members_.size());
  collected_.reserve(members_.size());
  gates_.resize(kMostEarly * members_.size());
  busy_.store(false, std::memory_order_release);
}

void CopyTeam::leave(CopyOffers* member) {
  lock();
  members_.erase(std::remove(members_.begin(), members_.end(), member), members_.end());
  num_members_.store(members_.size());
  busy_.store(false, std::memory_order_release);
}

bool CopyTeam::poll(CUresult& result) {
  if (busy_.exchange(true, std::memory_order_acquire)) return false;
  while (oldest_ < next_) {
    const Batch& first = batches_[oldest_ % kUnderWay];
    if (first.signal->load() < first.value) break;
    ++oldest_;
  }
  bool moved = false;
  while (result == CUDA_SUCCESS && next_ - oldest_ < kUnderWay) {
    const size_t num_copies = gather();
    if (num_copies == 0) break;
    const CopyDescriptor& last = copies_[num_copies - 1];
    batches_[next_ % kUnderWay] = {last.signal, last.signal_value};
    ++next_;
    result = issue({copies_.data(), num_copies});
    moved = true;
  }
  busy_.store(false, std::memory_order_release);
  return moved;
}

size_t CopyTeam::gather() {
  size_t num_copies = 0;
  size_t bytes = 0;
  while (num_copies < kMaxCopies) {
    CopyOffers* from = nullptr;
    const CopyDescriptor* lowest = nullptr;
    for (CopyOffers* member : members_) {
      const CopyDescriptor* offer = member->next_offer();
      if (offer == nullptr) continue;
      // Signals count chunks, the same on all ranks.
      if (lowest != nullptr && lowest->signal_value <= offer->signal_value) continue;
      from = member;
      lowest = offer;
    }
    if (from == nullptr || (num_copies > 0 && bytes + lowest->bytes > kBatchBytes)) break;
    copies_[num_copies++] = *lowest;
    bytes += lowest->bytes;
    from->take_offer();
  }
  return num_copies;
}

std::optional<uint64_t> CopyTeam::add_gates() {
  lock();
  const uint64_t batch = num_batches_++;
  const size_t before = next_gate_;
  for (const CopyDescriptor& copy : collected_) {
    if (copy.wait == nullptr || copy.wait->load() >= copy.wait_value) continue;
    const Gate& last = gates_[(next_gate_ - 1) % gates_.size()];
    const bool again =
        next_gate_ > before && last.wait == copy.wait && last.value == copy.wait_value;
    if (!again) gates_[next_gate_++ % gates_.size()] = {copy.wait, copy.wait_value, batch};
  }
  const bool waits = next_gate_ > before;
  busy_.store(false, std::memory_order_release);
  return waits ? std::optional(batch) : std::nullopt;
}

CUresult CopyTeam::hand_over_collected() {
  if (collected_.empty()) return CUDA_SUCCESS;
  // Without busy_: the driver may wait until earlier batches have been let go.
  const std::optional<uint64_t> batch = add_gates();
  ContextScope scope(*context_);
  CUresult result = scope.result();
  if (result == CUDA_SUCCESS && batch) {
    result = context_->driver().cuStreamWaitValue64(stream_, turn_on_device_, *batch + 1,
                                                    CU_STREAM_WAIT_VALUE_GEQ);
  }
  std::span<const CopyDescriptor> rest = collected_;
  while (result == CUDA_SUCCESS && !rest.empty()) {
    const size_t num_copies = std::min(rest.size(), kMaxCopies);
    result = issue(rest.first(num_copies));
    rest = rest.subspan(num_copies);
  }
  collected_.clear();
  return result;
}

void CopyTeam::let_go() {
  if (busy_.exchange(true, std::memory_order_acquire)) return;
  while (oldest_gate_ < next_gate_) {
    const Gate& oldest = gates_[oldest_gate_ % gates_.size()];
    if (oldest.wait->load() < oldest.value) break;
    ++oldest_gate_;
  }
  const uint64_t turn =
      oldest_gate_ < next_gate_ ? gates_[oldest_gate_ % gates_.size()].batch : num_batches_;
  if (turn > turn_->load(std::memory_order_relaxed)) turn_->store(turn, std::memory_order_release);
  busy_.store(false, std::memory_order_release);
}

CUresult CopyTeam::issue(std::span<const CopyDescriptor> copies) {
  ContextScope scope(*context_);
  if (scope.result() != CUDA_SUCCESS) return scope.result();
  return copy_batch(context_->driver(), direction_, copies, to_device_, stream_);
}

bool CopyTeam::idle() const {
  ContextScope scope(*context_);
  return context_->driver().cuStreamQuery(stream_) != CUDA_ERROR_NOT_READY;
}

}  // namespace hfr
