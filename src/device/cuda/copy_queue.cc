#include "device/cuda/copy_queue.hpp"

namespace hfr {

Status CopyQueue::open(std::atomic<uint64_t>* turn, CUdeviceptr turn_on_device) {
  turn_ = turn;
  turn_on_device_ = turn_on_device;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent", scope.result()));
  HFR_RETURN_IF_ERROR(driver.status(
      "cuStreamCreate", driver.cuStreamCreateWithPriority(&stream_, CU_STREAM_NON_BLOCKING, 0)));
  if (memory_operations_) return Status();
  for (CUevent& event : events_) {
    HFR_RETURN_IF_ERROR(
        driver.status("cuEventCreate", driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING)));
  }
  return Status();
}

CopyQueue::~CopyQueue() {
  if (stream_ == nullptr) return;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  for (CUevent event : events_) {
    if (event != nullptr) driver.cuEventDestroy(event);
  }
  driver.cuStreamDestroy(stream_);
}

bool CopyQueue::push(const CopyDescriptor& copy) {
  if (room() == 0) return false;
  ring_[tail_++ % kCapacity] = copy;
  return true;
}

void CopyQueue::push_early(const CopyDescriptor& copy) {
  // Late ones before it have been handed over: can_enqueue().
  if (early_end_ <= released_) handed_.store(tail_, std::memory_order_relaxed);
  ring_[tail_++ % kCapacity] = copy;
  early_end_ = tail_;
}

CUresult CopyQueue::hand_over() {
  const size_t idx = handed_.load(std::memory_order_relaxed);
  const CopyDescriptor& copy = ring_[idx % kCapacity];
  CUresult result = CUDA_SUCCESS;
  if (copy.wait != nullptr) {
    result = context_.driver().cuStreamWaitValue64(stream_, turn_on_device_, idx + 1,
                                                   CU_STREAM_WAIT_VALUE_GEQ);
  }
  if (result == CUDA_SUCCESS) result = issue(copy, nullptr);
  handed_.store(idx + 1, std::memory_order_release);
  return result;
}

bool CopyQueue::poll(CUresult& result) {
  if (cancelled_) return false;
  bool moved = false;
  const size_t before = released_;
  while (released_ < early_end_ && may_go(released_)) ++released_;
  if (released_ != before) {
    turn_->store(released_, std::memory_order_release);
    moved = true;
  }
  while (head_ < released_ && retire_head(result)) {
    ++head_;
    moved = true;
  }
  auto may_issue = [&] {
    return released_ >= early_end_ && released_ < tail_ && released_ - head_ < kDepth &&
           handed_.load(std::memory_order_acquire) >= early_end_ && may_go(released_);
  };
  if (result != CUDA_SUCCESS || !may_issue()) return moved;
  ContextScope scope(context_);
  result = scope.result();
  while (result == CUDA_SUCCESS && may_issue()) {
    result = issue(ring_[released_ % kCapacity], events_[released_ % kDepth]);
    ++released_;
  }
  return true;
}

bool CopyQueue::retire_head(CUresult& result) {
  const CopyDescriptor& copy = ring_[head_ % kCapacity];
  if (memory_operations_) return copy.signal->load() >= copy.signal_value;
  ContextScope scope(context_);
  const CUresult state = context_.driver().cuEventQuery(events_[head_ % kDepth]);
  if (state == CUDA_ERROR_NOT_READY) return false;
  if (state != CUDA_SUCCESS) {
    result = state;
    return false;
  }
  copy.signal->store(copy.signal_value);
  return true;
}

CUresult CopyQueue::issue(const CopyDescriptor& copy, CUevent event) {
  const Driver& driver = context_.driver();
  const CUresult copied =
      direction_ == CopyDirection::kIn
          ? driver.cuMemcpyDtoHAsync(copy.dst, reinterpret_cast<CUdeviceptr>(copy.src), copy.bytes,
                                     stream_)
          : driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(copy.dst), copy.src, copy.bytes,
                                     stream_);
  if (copied != CUDA_SUCCESS) return copied;
  if (!memory_operations_) return driver.cuEventRecord(event, stream_);
  const auto signal = reinterpret_cast<uint64_t>(&copy.signal->value) + to_device_;
  return driver.cuStreamWriteValue64(stream_, signal, copy.signal_value,
                                     CU_STREAM_WRITE_VALUE_DEFAULT);
}

void CopyQueue::cancel() {
  if (turn_ != nullptr) turn_->store(UINT64_MAX / 2, std::memory_order_release);
  cancelled_ = true;
}

bool CopyQueue::drained() const {
  if (stream_ == nullptr) return true;
  ContextScope scope(context_);
  return context_.driver().cuStreamQuery(stream_) != CUDA_ERROR_NOT_READY;
}

CUresult CopyQueue::query() const {
  ContextScope scope(context_);
  if (scope.result() != CUDA_SUCCESS) return scope.result();
  const CUresult state = context_.driver().cuStreamQuery(stream_);
  return state == CUDA_ERROR_NOT_READY ? CUDA_SUCCESS : state;
}

}  // namespace hfr
