#include "transport/verbs/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/text.hpp"

namespace hfr::verbs {

Result<std::unique_ptr<Region>> Region::make(std::span<const std::unique_ptr<Rail>> rails,
                                             void* memory, size_t bytes, bool relaxed) {
  std::unique_ptr<Region> region(new Region(static_cast<std::byte*>(memory), bytes));
  for (size_t i = 0; i < rails.size(); ++i) {
    const Rail& rail = *rails[i];
    ibv_mr* registration = rail.library().register_memory(rail.domain(), memory, bytes, relaxed);
    if (registration == nullptr) {
      return system_error(cat("registering ", bytes_text(bytes), " with ", rail.info().text(),
                              " (raise the limit of locked memory, ulimit -l)"),
                          errno);
    }
    region->registrations_[i] = registration;
  }
  return region;
}

Result<std::unique_ptr<Region>> Region::make_own(std::span<const std::unique_ptr<Rail>> rails,
                                                 size_t bytes, bool relaxed) {
  bytes = round_up(bytes, kPageBytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return system_error(cat("mapping ", bytes_text(bytes)), errno);
  auto region = make(rails, memory, bytes, relaxed);
  if (!region.ok()) {
    munmap(memory, bytes);
    return region;
  }
  (*region)->own_ = true;
  return region;
}

Region::~Region() {
  for (ibv_mr* registration : registrations_) {
    if (registration != nullptr) verbs_library()->dereg_mr(registration);
  }
  if (own_) munmap(memory_, bytes_);
}

HomeCard Region::card(const void* at, size_t bytes) const {
  HomeCard card;
  card.address = reinterpret_cast<uintptr_t>(at);
  card.bytes = bytes;
  for (size_t i = 0; i < registrations_.size(); ++i) {
    if (registrations_[i] != nullptr) card.keys[i] = registrations_[i]->rkey;
  }
  return card;
}

void Homes::set(uint32_t number, void* memory, size_t bytes, const Region* region) {
  if (number >= places_.size()) places_.resize(size_t{number} + 1);
  Place& place = places_[number];
  place.memory = static_cast<std::byte*>(memory);
  place.bytes = bytes;
  if (!place.known && region != nullptr) place.homes.push_back({region, place.memory, bytes});
  place.known = true;
}

Result<HomeCard> Homes::home(uint32_t number, size_t bytes,
                             std::span<const std::unique_ptr<Rail>> rails) {
  Place& place = places_[number];
  if (place.homes.empty() || place.homes.back().bytes < bytes) {
    HFR_ASSIGN_OR_RETURN(auto region, Region::make_own(rails, place.bytes, true));
    place.homes.push_back({region.get(), region->data(), region->size()});
    made_.push_back(std::move(region));
  }
  const Home& home = place.homes.back();
  HomeCard card = home.region->card(home.memory, home.bytes);
  card.idx = place.homes.size() - 1;
  return card;
}

Result<int> Bounces::take(size_t bytes, std::span<const std::unique_ptr<Rail>> rails) {
  Entry* small = nullptr;
  for (Entry& entry : entries_) {
    if (entry.taken) continue;
    if (entry.region->size() >= bytes) {
      entry.taken = true;
      return static_cast<int>(&entry - entries_.data());
    }
    small = &entry;
  }
  if (small == nullptr && entries_.size() == kMost) return kNone;
  auto region = Region::make_own(rails, bytes, false);
  if (!region.ok()) {
    const bool some_come_back = std::any_of(entries_.begin(), entries_.end(),
                                            [](const Entry& entry) { return entry.taken; });
    if (some_come_back) return kNone;
    return region.status();
  }
  if (small == nullptr) small = &entries_.emplace_back();
  small->region = std::move(*region);
  small->taken = true;
  return static_cast<int>(small - entries_.data());
}

}  // namespace hfr::verbs
