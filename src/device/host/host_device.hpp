// HostDevice: buffers in host memory. Its copy engine is the thread that polls: two in-order
// queues, as a GPU's two copy engines would be.
#pragma once

#include <array>
#include <cstddef>

#include "ports/device.hpp"

namespace hfr {

class HostDevice : public Device {
 public:
  bool host_accessible() const override { return true; }
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override;
  bool poll() override;
  void cancel() override;

 private:
  // Bounded and allocated once.
  class Queue {
   public:
    static constexpr size_t kCapacity = 128;
    bool push(const CopyDescriptor& copy);
    bool run_front();
    void clear() { head_ = tail_ = 0; }

   private:
    std::array<CopyDescriptor, kCapacity> entries_;
    size_t head_ = 0;
    size_t tail_ = 0;
  };
  Queue in_;
  Queue out_;
};

}  // namespace hfr
