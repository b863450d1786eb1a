// Bounces: pinned host memory through which a rank's small messages travel, and the words that say
// where each one is. A small message needs no staging and no stream of ours: its copies stand in
// the caller's stream.
//
//   caller's stream   ... D2H, in.done = 1 | (wait out.go) H2D, out.done = 1 | ...
//   engine                       in.done: add ... out.go = 1    out.done: complete, out.go = 0
//
// In host order both copies go to a stream of the rank's own, the second one when the result is
// there. Without stream memory operations an event follows each copy instead of a word.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "device/cuda/context.hpp"
#include "ports/device.hpp"

namespace hfr {

class Bounces {
 public:
  static constexpr size_t kNum = 64;  // in use at a time

  Bounces(const CudaContext& context, bool memory_operations)
      : context_(context), memory_operations_(memory_operations), places_(kNum) {}
  Bounces(const Bounces&) = delete;
  Bounces& operator=(const Bounces&) = delete;

  // `bytes` each; 0: there are none.
  Status open(size_t bytes);
  // Once no stream will come by any more.
  void free();

  Bounce* take();
  void give_back(Bounce* bounce);

  // `stream` null: the rank's own.
  CUresult copy_in(CUstream stream, Bounce& bounce, const void* from, size_t bytes);
  CUresult copy_out(CUstream stream, Bounce& bounce, void* to, size_t bytes, bool gated);
  bool came(Bounce& bounce) { return finished(place(bounce).way_in, *bounce.in); }
  bool left(Bounce& bounce);

  // A copy waits for its gate. Any thread.
  bool any_gated() const { return num_gated_.load(std::memory_order_relaxed) > 0; }
  // After a failure: whatever waits goes on.
  void open_all();
  // No stream will come by any more.
  bool all_passed();

 private:
  struct Way {
    std::atomic<bool> under_way{false};
    CUevent event = nullptr;  // null with memory operations
  };
  struct Place : Bounce {
    Way way_in;
    Way way_out;
    bool in_use = false;
    bool gated = false;
  };
  static Place& place(Bounce& bounce) { return static_cast<Place&>(bounce); }
  bool finished(Way& way, Gate& gate);
  // The gate's `done` is set when the stream comes there.
  CUresult mark(CUstream stream, Way& way, const Gate& gate);
  CUdeviceptr address(const std::atomic<uint64_t>& word) const {
    return on_device_ +
           static_cast<CUdeviceptr>(reinterpret_cast<const std::byte*>(&word) - memory_);
  }

  const CudaContext& context_;
  const bool memory_operations_;
  std::byte* memory_ = nullptr;  // the gates, then the places
  CUdeviceptr on_device_ = 0;
  CUstream own_ = nullptr;
  std::vector<Place> places_;
  size_t next_ = 0;
  std::atomic<int> num_gated_{0};
};

}  // namespace hfr
