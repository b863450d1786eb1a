#include "device/cuda/copy_queue.hpp"

#include <algorithm>

#include "device/cuda/copy_call.hpp"

namespace hfr {

Status CopyQueue::open(std::atomic<uint64_t>* turn, CUdeviceptr turn_on_device) {
  turn_ = turn;
  turn_on_device_ = turn_on_device;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent", scope.result()));
  HFR_RETURN_IF_ERROR(driver.status(
      "cuStreamCreate", driver.cuStreamCreateWithPriority(&stream_, CU_STREAM_NON_BLOCKING, 0)));
  if (team_ != nullptr) team_->join(this);
  if (memory_operations_) return Status();
  for (CUevent& event : events_) {
    HFR_RETURN_IF_ERROR(
        driver.status("cuEventCreate", driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING)));
  }
  return Status();
}

CopyQueue::~CopyQueue() {
  if (team_ != nullptr) team_->leave(this);
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
  join_others();
  ring_[tail_++ % kCapacity] = copy;
  return true;
}

void CopyQueue::join_others() {
  if (tail_ == 0 && team_ != nullptr) together_ = team_->num_members() > 1;
}

void CopyQueue::push_early(const CopyDescriptor& copy) {
  join_others();
  // Late ones before it have been handed over: can_enqueue().
  if (early_end_ <= released_) handed_.store(tail_, std::memory_order_relaxed);
  ring_[tail_++ % kCapacity] = copy;
  early_end_ = tail_;
}

CUresult CopyQueue::hand_over() {
  const size_t first = handed_.load(std::memory_order_relaxed);
  const size_t idx = first + kept_;
  const CopyDescriptor& copy = ring_[idx % kCapacity];
  if (together_) {
    team_->collect(copy);
    in_step_ = true;
    return CUDA_SUCCESS;
  }
  if (copy.more && idx + 1 < early_end_ && kept_ + 1 < kMostInBatch) {
    ++kept_;
    return CUDA_SUCCESS;
  }
  kept_ = 0;
  CUresult result = CUDA_SUCCESS;
  bool waits = false;
  for (size_t i = first; i <= idx; ++i) waits |= !may_go(i);
  if (waits) {
    result = context_.driver().cuStreamWaitValue64(stream_, turn_on_device_, idx + 1,
                                                   CU_STREAM_WAIT_VALUE_GEQ);
  }
  if (result == CUDA_SUCCESS) result = issue(first, idx + 1, nullptr);
  handed_.store(idx + 1, std::memory_order_release);
  return result;
}

CUresult CopyQueue::end_step() {
  if (!in_step_) return CUDA_SUCCESS;
  in_step_ = false;
  const CUresult result = team_->hand_over_collected();
  handed_.fetch_add(1, std::memory_order_release);
  return result;
}

bool CopyQueue::poll(CUresult& result) {
  if (cancelled_) return false;
  bool moved = false;
  const size_t before = released_;
  while (released_ < early_end_ && may_go(released_)) ++released_;
  if (together_ && early_end_ > head_) team_->let_go();
  if (released_ != before) {
    turn_->store(released_, std::memory_order_release);
    moved = true;
  }
  while (head_ < released_ && retire_head(result)) {
    ++head_;
    moved = true;
  }
  if (together_) return poll_team(result) || moved;
  auto may_issue = [&] {
    return released_ >= early_end_ && released_ < tail_ && released_ - head_ < kDepth &&
           handed_.load(std::memory_order_acquire) >= early_end_ && may_go(released_);
  };
  if (result != CUDA_SUCCESS || !may_issue()) return moved;
  ContextScope scope(context_);
  result = scope.result();
  while (result == CUDA_SUCCESS && may_issue()) {
    const size_t first = released_++;
    // Without memory operations each has an event of its own.
    while (memory_operations_ && ring_[(released_ - 1) % kCapacity].more && may_issue())
      ++released_;
    result = issue(first, released_, events_[first % kDepth]);
  }
  return true;
}

bool CopyQueue::poll_team(CUresult& result) {
  // First this queue's early copies: a driver call may wait for a stream that waits for them. The
  // others hand over their own.
  if (released_ < early_end_ || handed_.load(std::memory_order_acquire) < early_end_) return false;
  // Early ones are not the team's; late ones before them have been taken: all_issued().
  if (offered_.load(std::memory_order_relaxed) < early_end_) taken_.store(early_end_);
  while (released_ < tail_ && released_ - head_ < kDepth && may_go(released_)) ++released_;
  offered_.store(released_, std::memory_order_release);
  return result == CUDA_SUCCESS && team_->poll(result);
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

CUresult CopyQueue::move(const CopyDescriptor& copy) const {
  const Driver& driver = context_.driver();
  const auto src = reinterpret_cast<CUdeviceptr>(copy.src);
  const auto dst = reinterpret_cast<CUdeviceptr>(copy.dst);
  switch (direction_) {
    case CopyDirection::kIn:
    case CopyDirection::kOut:
      return copy_async(driver, direction_, copy, stream_);
    case CopyDirection::kAdd:
      return kernel_->add(copy, stream_);
    case CopyDirection::kPush:
    case CopyDirection::kPull:
      break;
  }
  return driver.cuMemcpyDtoDAsync(dst, src, copy.bytes, stream_);
}

CUresult CopyQueue::issue(size_t first, size_t end, CUevent event) {
  const Driver& driver = context_.driver();
  if (end - first > 1) {
    std::array<CopyDescriptor, kMostInBatch> copies;
    for (size_t i = first; i < end; ++i) copies[i - first] = ring_[i % kCapacity];
    return copy_batch(driver, direction_, {copies.data(), end - first}, to_device_, stream_);
  }
  const CopyDescriptor& copy = ring_[first % kCapacity];
  if (CUresult result = move(copy); result != CUDA_SUCCESS) return result;
  if (!memory_operations_) return driver.cuEventRecord(event, stream_);
  const auto signal = reinterpret_cast<uint64_t>(&copy.signal->value) + to_device_;
  return driver.cuStreamWriteValue64(stream_, signal, copy.signal_value,
                                     CU_STREAM_WRITE_VALUE_DEFAULT);
}

void CopyQueue::cancel() {
  if (turn_ != nullptr) turn_->store(UINT64_MAX / 2, std::memory_order_release);
  cancelled_ = true;
  if (together_ && has_early()) team_->let_all_go();
  if (team_ != nullptr) team_->leave(this);
}

bool CopyQueue::drained() const {
  if (stream_ == nullptr) return true;
  if (together_) {
    // Of early ones and late ones.
    const size_t taken =
        std::max(taken_.load(std::memory_order_acquire), handed_.load(std::memory_order_acquire));
    const CopyDescriptor& last = ring_[(taken - 1) % kCapacity];
    const bool passed = taken == 0 || last.signal->load() >= last.signal_value || team_->idle();
    if (!passed) return false;
  }
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
