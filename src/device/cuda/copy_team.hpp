// CopyTeam: one direction's late copies of all ranks of a process that share a GPU, handed to the
// driver in batches.
//
//   offered      rank 0: 4 5      rank 1: 4 5      rank 2: 5            a number is a chunk
//   next batch   4 4 5 5 5, then their signals
//
// A batch costs the link no more than a copy does, about 5 us beside the bytes (docs/cuda.md).
// While kUnderWay batches are on their way the ranks' offers gather, and the next batch takes the
// lowest chunks of all ranks: a chunk is added when the last rank's part of it is there.
//
// Threads: poll() by any rank's engine; whoever finds another at it goes on. join() and leave()
// wait for that one.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "device/cuda/context.hpp"
#include "ports/device.hpp"

namespace hfr {

// One rank's offers: a ring's part that its engine extends and the team takes from.
class CopyOffers {
 public:
  // The next copy that nobody took; null: none.
  virtual const CopyDescriptor* next_offer() const = 0;
  virtual void take_offer() = 0;

 protected:
  ~CopyOffers() = default;
};

class CopyTeam {
 public:
  static constexpr size_t kMaxCopies = 64;                // of a batch
  static constexpr size_t kBatchBytes = size_t{8} << 20;  // likewise, but for a single copy
  static constexpr size_t kUnderWay = 2;

  // `to_device`: what the device calls the staging's addresses, minus what the host calls them.
  static Result<std::shared_ptr<CopyTeam>> make(std::shared_ptr<const CudaContext> context,
                                                CopyDirection direction, uint64_t to_device);
  ~CopyTeam();
  CopyTeam(const CopyTeam&) = delete;
  CopyTeam& operator=(const CopyTeam&) = delete;

  void join(CopyOffers* member);
  // Afterwards nothing more of the member is handed over.
  void leave(CopyOffers* member);
  size_t num_members() const { return num_members_.load(); }
  // What was taken may not be with the driver yet.
  bool handing_over() const { return busy_.load(std::memory_order_acquire); }

  // Hands over what may go. True when something was. Sets `result` when the driver refuses.
  bool poll(CUresult& result);
  // Whether the driver has nothing of the team's left. Calls it.
  bool idle() const;

 private:
  CopyTeam(std::shared_ptr<const CudaContext> context, CopyDirection direction, uint64_t to_device)
      : context_(std::move(context)), direction_(direction), to_device_(to_device) {}

  void lock();
  // The next batch's copies.
  size_t gather();
  CUresult issue(size_t num_copies);
  CUresult copy(size_t num_copies);

  const std::shared_ptr<const CudaContext> context_;
  const CopyDirection direction_;
  const uint64_t to_device_;
  CUstream stream_ = nullptr;
  std::atomic<size_t> num_members_{0};
  std::atomic<bool> busy_{false};
  // Of whoever set busy_:
  std::vector<CopyOffers*> members_;
  std::array<CopyDescriptor, kMaxCopies> copies_;
  struct Batch {
    const Counter* signal;  // its last
    uint64_t value;
  };
  std::array<Batch, kUnderWay> batches_;
  size_t oldest_ = 0;
  size_t next_ = 0;
};

}  // namespace hfr
