// Memory that devices may touch, and the homes of landings in it. Used by the transport's thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.hpp"
#include "transport/verbs/device.hpp"
#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

// A range that is registered on every rail, as long as this lives.
class Region {
 public:
  // `relaxed`: writes into it may become visible in any order until a completion says they are in.
  static Result<std::unique_ptr<Region>> make(std::span<const std::unique_ptr<Rail>> rails,
                                              void* memory, size_t bytes, bool relaxed);
  // In memory of its own, zeroed; shared, so that a fork of the process leaves it in place.
  static Result<std::unique_ptr<Region>> make_own(std::span<const std::unique_ptr<Rail>> rails,
                                                  size_t bytes, bool relaxed);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::byte* data() const { return memory_; }
  size_t size() const { return bytes_; }
  bool contains(const void* ptr, size_t bytes) const {
    auto at = reinterpret_cast<uintptr_t>(ptr);
    auto first = reinterpret_cast<uintptr_t>(memory_);
    return at >= first && bytes <= bytes_ && at - first <= bytes_ - bytes;
  }
  uint32_t local_key(size_t rail_idx) const { return registrations_[rail_idx]->lkey; }
  uint32_t remote_key(size_t rail_idx) const { return registrations_[rail_idx]->rkey; }
  HomeCard card(const void* at, size_t bytes) const;

 private:
  Region(std::byte* memory, size_t bytes) : memory_(memory), bytes_(bytes) {}

  std::byte* memory_;
  size_t bytes_;
  bool own_ = false;
  std::array<ibv_mr*, kMaxVerbsRails> registrations_{};
};

// Where landings are, and the registered places into which peers write for them.
class Homes {
 public:
  struct Home {
    const Region* region = nullptr;
    std::byte* memory = nullptr;
    size_t bytes = 0;
  };
  struct Place {
    std::byte* memory = nullptr;
    size_t bytes = 0;
    bool known = false;
    std::vector<Home> homes;  // a peer may have been told of each
  };

  // Allocates only when `number` is larger than any before. `region`: what the memory lies in, or
  // null.
  void set(uint32_t number, void* memory, size_t bytes, const Region* region);
  // Null when nobody set it.
  const Place* find(uint32_t number) const {
    return number < places_.size() && places_[number].known ? &places_[number] : nullptr;
  }
  // A home of at least `bytes`, made when there is none. The landing is known.
  Result<HomeCard> home(uint32_t number, size_t bytes,
                        std::span<const std::unique_ptr<Rail>> rails);

 private:
  std::vector<Place> places_;
  std::vector<std::unique_ptr<Region>> made_;
};

// Registered buffers through which sources go that are not. Grows to kMost, then waits.
class Bounces {
 public:
  static constexpr size_t kMost = 32;
  static constexpr int kNone = -1;

  // Takes one of at least `bytes`; kNone when one has to come back first.
  Result<int> take(size_t bytes, std::span<const std::unique_ptr<Rail>> rails);
  void give_back(int idx) { entries_[static_cast<size_t>(idx)].taken = false; }
  const Region& region(int idx) const { return *entries_[static_cast<size_t>(idx)].region; }

 private:
  struct Entry {
    std::unique_ptr<Region> region;
    bool taken = false;
  };
  std::vector<Entry> entries_;
};

}  // namespace hfr::verbs
