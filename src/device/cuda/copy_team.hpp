// CopyTeam: one direction's copies of all ranks of a process that share a GPU, handed to the driver
// in batches. A batch costs the link no more than a copy does, about 5 us beside the bytes
// (docs/cuda.md), and a chunk is added when the last rank's part of it is there.
//
//   late    offered      rank 0: 4 5      rank 1: 4 5      rank 2: 5       a number is a chunk
//           next batch   4 4 5 5 5, then their signals
//
//   early   batch b      wait until turn > b, 4 4 4, then their signals
//
// Late ones: while kUnderWay batches are on their way the ranks' offers gather, and the next batch
// takes the lowest chunks of all ranks. Early ones: a batch is a chunk of every rank, and whichever
// rank's engine first sees that what they wait for is there advances `turn`; the stream waits only
// where something was missing when the batch was handed over. They wait for the same counters but
// in groups, so nobody's copies go sooner than his own engine would let them (but for
// CopyDescriptor::step, which is for speed alone: a batch of everybody's does not wait for it);
// after a failure one rank lets go all ranks', which is why no operation counts as complete then.
//
// Threads: poll() and let_go() by any rank's engine; whoever finds another at it goes on. join()
// and leave() wait for that one. collect() and hand_over_collected() by one thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "device/cuda/context.hpp"
#include "device/cuda/copy_call.hpp"
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
  static constexpr size_t kMaxCopies = kMostInBatch;
  static constexpr size_t kBatchBytes = size_t{8} << 20;  // likewise, but for a single copy
  static constexpr size_t kUnderWay = 2;
  static constexpr size_t kMostEarly = 2048;  // of each member, handed over and not finished

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

  // Late ones: hands over what may go. True when something was. Sets `result` when the driver
  // refuses.
  bool poll(CUresult& result);

  // Early ones: a step's copies of the members, then all of them to the driver.
  void collect(const CopyDescriptor& copy) { collected_.push_back(copy); }
  CUresult hand_over_collected();
  // Lets go what may go.
  void let_go();
  // After a failure: all of it.
  void let_all_go() { turn_->store(UINT64_MAX / 2, std::memory_order_release); }

  CUstream stream() const { return stream_; }
  // Whether the driver has nothing of the team's left. Calls it.
  bool idle() const;

 private:
  CopyTeam(std::shared_ptr<const CudaContext> context, CopyDirection direction, uint64_t to_device)
      : context_(std::move(context)), direction_(direction), to_device_(to_device) {}

  void lock();
  // The next batch's copies.
  size_t gather();
  CUresult issue(std::span<const CopyDescriptor> copies);
  // Remembers what the collected copies wait for. Returns their batch's number, if they wait.
  std::optional<uint64_t> add_gates();

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

  std::vector<CopyDescriptor> collected_;
  std::atomic<uint64_t>* turn_ = nullptr;  // pinned: how many early batches may go
  CUdeviceptr turn_on_device_ = 0;
  // Of whoever set busy_: what batches from the oldest that may not go wait for, in order.
  struct Gate {
    const Counter* wait;
    uint64_t value;
    uint64_t batch;
  };
  std::vector<Gate> gates_;  // a ring
  size_t oldest_gate_ = 0;
  size_t next_gate_ = 0;
  uint64_t num_batches_ = 0;
};

}  // namespace hfr
