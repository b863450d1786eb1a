// CopyQueue: one direction's copies of one rank, in order, on a stream of its own.
//
//   ring:   | retired ... | on their way | may not go yet ... |
//                         ^ head         ^ released           ^ tail
//
// A copy may go once its gate counter says so. There are two ways to see to that (docs/cuda.md):
//
//   late     the copy is handed to the driver when it may go, several ahead of the copy engine. The
//            stream never holds a wait. For operations in host order, whose caller waits.
//   early    [wait until turn >= n] [copies] [signals] is handed over at once, and whoever polls
//            advances `turn`, a word of this queue alone. No driver call is needed afterwards. What
//            may go at once is not waited for. For operations in the order of a stream, whose
//            caller goes on.
//
// Copies that say so (CopyDescriptor::more) go with the next one: together they cost the link what
// one does (docs/cuda.md). Where ranks of a process share a GPU, their team hands over both kinds
// (copy_team.hpp).
// Without stream memory operations there is no early, and an event follows each copy.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "device/cuda/context.hpp"
#include "device/cuda/copy_team.hpp"
#include "device/cuda/group_kernel.hpp"
#include "ports/device.hpp"

namespace hfr {

class CopyQueue final : private CopyOffers {
 public:
  static constexpr size_t kCapacity = CopyTeam::kMostEarly;
  static constexpr size_t kDepth = 4;  // late copies handed over and not finished

  // `to_device`: what the device calls the staging's addresses, minus what the host calls them.
  // `team`: with kIn and kOut and memory operations. `kernel`: with kAdd; the caller keeps it
  // alive.
  CopyQueue(const CudaContext& context, CopyDirection direction, bool memory_operations,
            uint64_t to_device, std::shared_ptr<CopyTeam> team = nullptr,
            const GroupKernel* kernel = nullptr)
      : context_(context),
        direction_(direction),
        memory_operations_(memory_operations),
        to_device_(to_device),
        kernel_(kernel),
        team_(std::move(team)),
        ring_(kCapacity) {}
  ~CopyQueue();
  CopyQueue(const CopyQueue&) = delete;
  CopyQueue& operator=(const CopyQueue&) = delete;

  // `turn`: the word of this queue, and what the device calls it.
  Status open(std::atomic<uint64_t>* turn, CUdeviceptr turn_on_device);

  size_t room() const { return kCapacity - (tail_ - head_); }
  // Everything that was pushed has been handed to the driver.
  bool all_issued() const {
    const bool late_last = tail_ > early_end_;
    if (together_ && late_last) return taken_.load() == tail_ && !team_->handing_over();
    return released_ == tail_ || handed_.load() == tail_;
  }
  bool push(const CopyDescriptor& copy);
  void push_early(const CopyDescriptor& copy);
  // The chunk of the next early copy that the driver has not got; UINT64_MAX: none. This and
  // hand_over() beside the engine's thread.
  uint64_t next_chunk() const {
    const size_t idx = handed_.load(std::memory_order_relaxed) + kept_;
    return idx < early_end_ ? ring_[idx % kCapacity].signal_value - 1 : UINT64_MAX;
  }
  // Hands that copy to the driver, or keeps it to go with the next one; where others are in the
  // team, with theirs at the end of the step.
  CUresult hand_over();
  CUresult end_step();
  // Retires what has finished and lets go what may. Sets `result` when the driver refuses.
  bool poll(CUresult& result);
  // Lets everything go that the driver has, forgets the rest.
  void cancel();
  // Whether the driver has nothing of this queue left. Calls it.
  bool drained() const;
  CUresult query() const;
  CUstream stream() const { return stream_; }
  // Where early copies go.
  CUstream early_stream() const { return together_ ? team_->stream() : stream_; }
  bool is_together() const { return together_; }
  bool has_early() const { return head_ < early_end_; }

 private:
  // Whether the copy at the head has finished; publishes that where the host has to.
  bool retire_head(CUresult& result);
  bool may_go(size_t idx) const { return ring_[idx % kCapacity].may_go(); }
  CUresult move(const CopyDescriptor& copy) const;
  // Copies [first, end) of the ring, in one batch. `event`: without memory operations, of the only
  // one.
  CUresult issue(size_t first, size_t end, CUevent event);
  void join_others();
  // Has the team hand over what may go.
  bool poll_team(CUresult& result);
  const CopyDescriptor* next_offer() const override {
    // In this order: where early ones were left out, taken_ moved before offered_ did.
    const size_t offered = offered_.load(std::memory_order_acquire);
    const size_t taken = taken_.load(std::memory_order_relaxed);
    return taken < offered ? &ring_[taken % kCapacity] : nullptr;
  }
  void take_offer() override { taken_.fetch_add(1, std::memory_order_release); }

  const CudaContext& context_;
  const CopyDirection direction_;
  const bool memory_operations_;
  const uint64_t to_device_;
  const GroupKernel* const kernel_;
  const std::shared_ptr<CopyTeam> team_;
  // Others are in the team: this queue's copies go through it. Fixed by the first copy, when all
  // ranks have been set up.
  bool together_ = false;
  bool in_step_ = false;  // the team has an early copy of this queue that the driver has not got
  CUstream stream_ = nullptr;
  std::atomic<uint64_t>* turn_ = nullptr;
  CUdeviceptr turn_on_device_ = 0;
  std::array<CUevent, kDepth> events_{};  // null with memory operations
  std::vector<CopyDescriptor> ring_;
  size_t head_ = 0;
  size_t released_ = 0;  // may go; late ones have been handed to the driver
  size_t tail_ = 0;
  size_t early_end_ = 0;           // behind the last early one
  std::atomic<size_t> handed_{0};  // early ones up to here have been handed to the driver
  size_t kept_ = 0;                // and so many more are kept for the end of their batch
  // Together: copies up to offered_ may go, up to taken_ the driver has them.
  std::atomic<size_t> offered_{0};
  std::atomic<size_t> taken_{0};
  bool cancelled_ = false;
};

}  // namespace hfr
