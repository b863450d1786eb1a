#include "device/host/host_device.hpp"

#include "base/net.hpp"
#include "cpu/copy.hpp"
#include "cpu/crc32c.hpp"
#include "ports/checksum.hpp"

namespace hfr {

bool HostDevice::Queue::push(const CopyDescriptor& copy) {
  if (tail_ - head_ == kCapacity) return false;
  entries_[tail_++ % kCapacity] = copy;
  return true;
}

bool HostDevice::Queue::run_front() {
  if (head_ == tail_ || corrupted_) return false;
  const CopyDescriptor& copy = entries_[head_ % kCapacity];
  if (!copy.may_go()) return false;
  const bool timed = meter_ != nullptr && copy.bytes >= timed_from_bytes_;
  const uint64_t began_ns = timed ? monotonic_ns() : 0;
  copy_bytes(copy.dst, copy.src, copy.bytes, copy.streaming);
  if (timed) meter_->time(monotonic_ns() - began_ns);
  if (copy.leave_checksum != nullptr) {
    copy.leave_checksum->store(checksum_word(copy.signal_value, crc32c(copy.src, copy.bytes)));
  }
  if (copy.expect_checksum != nullptr) {
    const uint32_t found = crc32c(copy.dst, copy.bytes);
    if (checksum_word(copy.signal_value, found) != copy.expect_checksum->load()) {
      corrupted_ = {copy, found};
      return true;
    }
  }
  if (copy.signal != nullptr) copy.signal->store(copy.signal_value);
  ++head_;
  return true;
}

bool HostDevice::submit(CopyDirection direction, const CopyDescriptor& copy) {
  return (direction == CopyDirection::kIn ? in_ : out_).push(copy);
}

bool HostDevice::poll() {
  // One of each, so that the caller's turn stays short and no direction starves the other.
  bool in = in_.run_front();
  bool out = out_.run_front();
  return in || out;
}

void HostDevice::cancel() {
  in_.clear();
  out_.clear();
}

}  // namespace hfr
