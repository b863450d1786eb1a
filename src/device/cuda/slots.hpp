// Slots: the words in pinned host memory through which a rank's streams and its engine talk.
//
//   ready[op mod UserSide::kMaxOpen]  operation number + 1, written by a stream that comes to the
//                                     operation: its input is there
//   turn[direction]                   how many early copies may go (copy_queue.hpp), written by
//                                     the engine
//
// Not part of staging: a stream of the caller may come by long after the communicator has gone.
#pragma once

#include <array>
#include <atomic>
#include <new>

#include "base/counter.hpp"
#include "device/cuda/context.hpp"
#include "ports/device.hpp"

namespace hfr {

class Slots {
 public:
  static constexpr size_t kReady = UserSide::kMaxOpen;

  explicit Slots(const CudaContext& context) : context_(context) {}
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  Status open() {
    const Driver& driver = context_.driver();
    ContextScope scope(context_);
    HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent", scope.result()));
    void* memory = nullptr;
    HFR_RETURN_IF_ERROR(
        driver.status("cuMemHostAlloc",
                      driver.cuMemHostAlloc(&memory, sizeof(Words),
                                            CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)));
    words_ = new (memory) Words{};
    return driver.status("cuMemHostGetDevicePointer",
                         driver.cuMemHostGetDevicePointer(&on_device_, memory, 0));
  }
  // Once no stream will come by any more.
  void free() {
    ContextScope scope(context_);
    if (words_ != nullptr) context_.driver().cuMemFreeHost(words_);
    words_ = nullptr;
  }

  std::atomic<uint64_t>& ready(uint64_t op) { return words_->ready[op % kReady]; }
  std::atomic<uint64_t>& turn(CopyDirection direction) {
    return words_->turn[static_cast<size_t>(direction)].value;
  }
  CUdeviceptr address(const std::atomic<uint64_t>& word) const {
    return on_device_ + static_cast<CUdeviceptr>(reinterpret_cast<const std::byte*>(&word) -
                                                 reinterpret_cast<const std::byte*>(words_));
  }
  // Says that a stream will come to `op`.
  void expect(uint64_t op) { expected_[op % kReady].store(op + 1, std::memory_order_relaxed); }
  // Every stream that was expected has come.
  bool all_came() const {
    if (words_ == nullptr) return true;
    for (size_t i = 0; i < kReady; ++i) {
      if (words_->ready[i].load(std::memory_order_acquire) <
          expected_[i].load(std::memory_order_relaxed)) {
        return false;
      }
    }
    return true;
  }

 private:
  struct Words {
    std::array<std::atomic<uint64_t>, kReady> ready;
    std::array<Counter, kNumDirections> turn;
  };
  const CudaContext& context_;
  Words* words_ = nullptr;
  CUdeviceptr on_device_ = 0;
  std::array<std::atomic<uint64_t>, kReady> expected_{};
};

}  // namespace hfr
