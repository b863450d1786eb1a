#include "device/cuda/copy_team.hpp"

#include <algorithm>

#include "base/waiter.hpp"
#include "device/cuda/copy_call.hpp"

namespace hfr {

Result<std::shared_ptr<CopyTeam>> CopyTeam::make(std::shared_ptr<const CudaContext> context,
                                                 CopyDirection direction, uint64_t to_device) {
  std::shared_ptr<CopyTeam> team(new CopyTeam(std::move(context), direction, to_device));
  const Driver& driver = team->context_->driver();
  ContextScope scope(*team->context_);
  HFR_RETURN_IF_ERROR(
      driver.status("cuStreamCreate",
                    driver.cuStreamCreateWithPriority(&team->stream_, CU_STREAM_NON_BLOCKING, 0)));
  return team;
}

CopyTeam::~CopyTeam() {
  if (stream_ == nullptr) return;
  ContextScope scope(*context_);
  context_->driver().cuStreamDestroy(stream_);
}

void CopyTeam::lock() {
  while (busy_.exchange(true, std::memory_order_acquire)) Waiter::relax();
}

void CopyTeam::join(CopyOffers* member) {
  lock();
  members_.push_back(member);
  num_members_.store(members_.size());
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
    result = issue(num_copies);
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

CUresult CopyTeam::issue(size_t num_copies) {
  ContextScope scope(*context_);
  CUresult result = scope.result();
  if (result == CUDA_SUCCESS) result = copy(num_copies);
  if (result != CUDA_SUCCESS) return result;
  std::array<CUstreamBatchMemOpParams, kMaxCopies> writes;
  for (size_t i = 0; i < num_copies; ++i) {
    writes[i] = {};
    writes[i].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
    writes[i].writeValue.address =
        reinterpret_cast<uint64_t>(&copies_[i].signal->value) + to_device_;
    writes[i].writeValue.value64 = copies_[i].signal_value;
    writes[i].writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
  }
  return context_->driver().cuStreamBatchMemOp(stream_, static_cast<unsigned>(num_copies),
                                               writes.data(), 0);
}

CUresult CopyTeam::copy(size_t num_copies) {
  const Driver& driver = context_->driver();
#if CUDA_VERSION >= 13000
  if (num_copies > 1 && driver.cuMemcpyBatchAsync != nullptr) {
    std::array<CUdeviceptr, kMaxCopies> dsts;
    std::array<CUdeviceptr, kMaxCopies> srcs;
    std::array<size_t, kMaxCopies> sizes;
    for (size_t i = 0; i < num_copies; ++i) {
      dsts[i] = reinterpret_cast<CUdeviceptr>(copies_[i].dst);
      srcs[i] = reinterpret_cast<CUdeviceptr>(copies_[i].src);
      sizes[i] = copies_[i].bytes;
    }
    CUmemcpyAttributes attributes{};
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    size_t first = 0;
    return driver.cuMemcpyBatchAsync(dsts.data(), srcs.data(), sizes.data(), num_copies,
                                     &attributes, &first, 1, stream_);
  }
#endif
  CUresult result = CUDA_SUCCESS;
  for (size_t i = 0; i < num_copies && result == CUDA_SUCCESS; ++i) {
    result = copy_async(driver, direction_, copies_[i], stream_);
  }
  return result;
}

bool CopyTeam::idle() const {
  ContextScope scope(*context_);
  return context_->driver().cuStreamQuery(stream_) != CUDA_ERROR_NOT_READY;
}

}  // namespace hfr
