// HostDevice: buffers in host memory. Its copy engine is the thread that polls: two in-order
// queues, as a GPU's two copy engines would be.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "ports/device.hpp"

namespace hfr {

class HostDevice : public Device {
 public:
  bool host_accessible() const override { return true; }
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override;
  bool poll() override;
  void cancel() override;
  const CorruptedCopy* corrupted() const override { return out_.corrupted(); }
  void time_copies(StageMeter& in, StageMeter& out, size_t least_bytes) override {
    in_.time_copies(in, least_bytes);
    out_.time_copies(out, least_bytes);
  }

 private:
  // Bounded and allocated once.
  class Queue {
   public:
    static constexpr size_t kCapacity = 128;
    bool push(const CopyDescriptor& copy);
    bool run_front();
    void clear() { head_ = tail_ = 0; }
    const CorruptedCopy* corrupted() const { return corrupted_ ? &*corrupted_ : nullptr; }
    void time_copies(StageMeter& meter, size_t least_bytes) {
      meter_ = &meter;
      timed_from_bytes_ = least_bytes;
    }

   private:
    std::array<CopyDescriptor, kCapacity> entries_;
    size_t head_ = 0;
    size_t tail_ = 0;
    std::optional<CorruptedCopy> corrupted_;
    StageMeter* meter_ = nullptr;
    size_t timed_from_bytes_ = 0;
  };
  Queue in_;
  Queue out_;
};

}  // namespace hfr
