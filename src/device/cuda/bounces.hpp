// Bounces: pinned host memory through which a rank's small messages travel, and the words that say
// where each one is. A small message needs no staging and no stream of ours: its copies stand in
// the caller's stream.
//
//   caller's stream   ... D2H, in.done = 1 | (wait out.go) H2D, out.done = 1 | ...
//   engine                       in.done: add ... out.go = 1    out.done: complete, out.go = 0
//
// In host order both copies go to a stream of the rank's own, the second one when the result is
// there. Without stream memory operations an event follows each copy instead of a word.
//
// Where GDRCopy reaches the buffer the thread that asks for `done`, or lets the result go, copies
// instead; in the caller's stream stand the words alone.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "device/cuda/context.hpp"
#include "device/cuda/gdr_mappings.hpp"
#include "ports/device.hpp"

namespace hfr {

class Bounces {
 public:
  static constexpr size_t kNum = 64;  // in use at a time

  Bounces(const CudaContext& context, bool memory_operations, GdrMappings& mappings);
  Bounces(const Bounces&) = delete;
  Bounces& operator=(const Bounces&) = delete;

  // `bytes` each; 0: there are none.
  Status open(size_t bytes);
  // Once no stream will come by any more.
  void free();

  Bounce* take();
  void give_back(Bounce* bounce);

  // One that take() never returns.
  Bounce& spare() { return places_.back(); }
  size_t bytes() const { return bytes_; }

  // What it is used for: before all that follows.
  void aim(Bounce& bounce, const void* from, void* to, size_t bytes);
  // `stream` null: the rank's own.
  CUresult copy_in(CUstream stream, Bounce& bounce);
  CUresult copy_out(CUstream stream, Bounce& bounce, bool gated);
  bool came(Bounce& bounce);
  // Lets a gated copy go, unless it was refused.
  void let_go(Bounce& bounce);
  bool left(Bounce& bounce);
  // The CPU was refused a copy. Any thread.
  bool refused() const { return refused_; }
  // What came was read by the CPU, and is what a device reads as that is gone from its bus.
  bool reads_as_dead(const Bounce& bounce) const;

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
    bool by_cpu = false;      // nothing in a stream has to be waited for
  };
  struct Place : Bounce {
    Way way_in;
    Way way_out;
    bool in_use = false;
    bool gated = false;
    const void* from = nullptr;
    void* to = nullptr;
    size_t bytes = 0;
    // Null: the copy engine copies.
    std::shared_ptr<const GdrCopy::Mapping> reader;
    std::shared_ptr<const GdrCopy::Mapping> writer;
  };
  static Place& place(Bounce& bounce) { return static_cast<Place&>(bounce); }
  bool finished(Way& way, Gate& gate);
  // The gate's `done` is set when the stream comes there.
  CUresult mark(CUstream stream, Way& way, const Gate& gate);
  CUresult mark_by_cpu(Way& way);
  // A stream's later entries see what the CPU wrote before it let the stream go.
  bool writes_ahead(const Place& place) const { return place.writer != nullptr && cpu_first_; }
  void write(Place& place);
  CUdeviceptr address(const std::atomic<uint64_t>& word) const {
    return on_device_ +
           static_cast<CUdeviceptr>(reinterpret_cast<const std::byte*>(&word) - memory_);
  }

  const CudaContext& context_;
  const bool memory_operations_;
  GdrMappings& mappings_;
  const bool cpu_first_;       // the CPU's writes come before what it tells a stream
  const unsigned wait_flags_;  // of a wait for that word
  size_t bytes_ = 0;
  std::atomic<bool> refused_{false};
  std::byte* memory_ = nullptr;  // the gates, then the places
  CUdeviceptr on_device_ = 0;
  CUstream own_ = nullptr;
  std::vector<Place> places_;
  size_t next_ = 0;
  std::atomic<int> num_gated_{0};
};

}  // namespace hfr
