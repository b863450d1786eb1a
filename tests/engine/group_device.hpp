// A GPU of a group, played in host memory: five queues, whose fronts run in random order whenever
// their gates allow it. Counts what each direction moved.
#pragma once

#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "cpu/reduce.hpp"
#include "ports/device.hpp"

namespace hfr_tests {

class GroupDevice : public hfr::Device {
 public:
  static constexpr size_t kCapacity = 24;

  // Member `idx` of a group of `size`, whose inboxes are `slot_bytes` apart.
  GroupDevice(int size, int idx, size_t slot_bytes)
      : size_(size),
        idx_(idx),
        slot_bytes_(slot_bytes),
        kernels_(*hfr::select_kernel_table("scalar")),
        random_(static_cast<unsigned>(idx)) {}

  bool host_accessible() const override { return false; }
  bool submit(hfr::CopyDirection direction, const hfr::CopyDescriptor& copy) override {
    auto& queue = queues_[static_cast<size_t>(direction)];
    if (queue.size() == kCapacity) return false;
    queue.push_back(copy);
    return true;
  }
  bool poll() override {
    if (next_poll_) std::exchange(next_poll_, nullptr)();
    bool moved = false;
    for (size_t tries = 0; tries < hfr::kNumDirections; ++tries) {
      const size_t which = random_() % hfr::kNumDirections;
      auto& queue = queues_[which];
      if (queue.empty() || !queue.front().may_go()) continue;
      run(static_cast<hfr::CopyDirection>(which), queue.front());
      queue.pop_front();
      moved = true;
    }
    return moved || !idle();  // the next look may find another queue
  }
  void cancel() override {
    for (size_t which = 0; which < queues_.size(); ++which) {
      auto& queue = queues_[which];
      for (; early_ && !queue.empty(); queue.pop_front()) {
        run(static_cast<hfr::CopyDirection>(which), queue.front());
      }
      queue.clear();
    }
  }
  // As if its copies had been handed over early: cancel() lets them go.
  void make_early() { early_ = true; }
  // Runs in the middle of the engine's next turn.
  void at_next_poll(std::function<void()> what) { next_poll_ = std::move(what); }

  size_t bytes_moved(hfr::CopyDirection direction) const {
    return bytes_[static_cast<size_t>(direction)];
  }

 private:
  bool idle() const {
    for (const auto& queue : queues_) {
      if (!queue.empty() && queue.front().may_go()) return false;
    }
    return true;
  }

  void run(hfr::CopyDirection direction, const hfr::CopyDescriptor& copy) {
    bytes_[static_cast<size_t>(direction)] += copy.bytes;
    if (direction == hfr::CopyDirection::kAdd) {
      add(copy);
    } else {
      if (copy.bytes > 0) std::memcpy(copy.dst, copy.src, copy.bytes);
    }
    copy.signal->store(copy.signal_value);
  }

  void add(const hfr::CopyDescriptor& copy) const {
    std::vector<const void*> sources;
    for (int i = 0; i < size_ - 1; ++i) {
      sources.push_back(static_cast<const std::byte*>(copy.dst) +
                        static_cast<size_t>(i) * slot_bytes_);
    }
    sources.insert(sources.begin() + idx_, copy.src);
    void* dst = copy.dst;
    hfr::ReduceArgs args;
    args.dsts = &dst;
    args.num_dsts = 1;
    args.srcs = sources.data();
    args.num_srcs = size_;
    args.count = copy.bytes / hfr::dtype_size(copy.dtype);
    args.divisor = copy.divisor;
    kernels_->reduce[static_cast<int>(copy.dtype)][static_cast<int>(copy.op)](args);
  }

  const int size_;
  const int idx_;
  const size_t slot_bytes_;
  const hfr::KernelTable* const kernels_;
  bool early_ = false;
  std::function<void()> next_poll_;
  std::mt19937 random_;
  std::array<std::deque<hfr::CopyDescriptor>, hfr::kNumDirections> queues_;
  std::array<size_t, hfr::kNumDirections> bytes_{};
};

}  // namespace hfr_tests
