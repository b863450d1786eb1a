#include "device/cuda/gdr_mappings.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/shared_memory.hpp"

namespace hfr {

void GdrMappings::use(GdrCopy& gdr, const GdrLimits& limits) {
  gdr_ = &gdr;
  limits_ = limits;
}

void GdrMappings::see(CUdeviceptr buffer, size_t bytes, uint64_t id, bool ours) {
  std::lock_guard lock(mutex_);
  ++num_seen_;
  const CUdeviceptr end = buffer + bytes;
  // An address is one allocation's: what says otherwise is of one that has gone.
  std::erase_if(entries_, [&](const Entry& e) { return e.id != id && e.overlaps(buffer, end); });
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& e) { return e.covers(buffer, end); });
  if (entry == entries_.end()) {
    add(make_entry(buffer, bytes, id, ours));
    return;
  }
  entry->last_use = num_seen_;
  if (++entry->uses == kUsesBefore && entry->mappable) map(*entry);
}

GdrMappings::Entry GdrMappings::make_entry(CUdeviceptr buffer, size_t bytes, uint64_t id,
                                           bool ours) const {
  std::array<CUpointer_attribute, 3> names = {CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                              CU_POINTER_ATTRIBUTE_RANGE_SIZE,
                                              CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE};
  CUdeviceptr start = 0;
  size_t size = 0;
  int legacy = 0;
  std::array<void*, 3> values = {&start, &size, &legacy};
  Entry entry;
  entry.begin = buffer;
  entry.end = buffer + bytes;
  entry.id = id;
  entry.uses = 1;
  entry.last_use = num_seen_;
  const bool known =
      context_.driver().cuPointerGetAttributes(static_cast<unsigned>(names.size()), names.data(),
                                               values.data(), buffer) == CUDA_SUCCESS;
  // Of memory that is not cuMemAlloc's other pages may come to lie at the address, under one id.
  if (!known || legacy == 0) return entry;
  entry.begin = start;
  entry.end = start + size;
  if (size > kWhole) {
    entry.begin = std::max<CUdeviceptr>(start, buffer / kGpuPageBytes * kGpuPageBytes);
    entry.end = std::min<CUdeviceptr>(start + size, round_up(buffer + bytes, kGpuPageBytes));
  }
  // What stays allocated behind its owner's back is little.
  entry.mappable = size <= kWhole || ours || !gdr_->keeps_freed_memory();
  return entry;
}

void GdrMappings::add(Entry entry) {
  // Pieces of one large allocation: the new one takes their place.
  std::erase_if(entries_, [&](const Entry& e) { return entry.covers(e.begin, e.end); });
  if (entries_.size() == kMost && num_seen_ - last_sweep_ >= kMost) drop_freed();
  if (entries_.size() == kMost) {
    auto rank = [](const Entry& e) { return std::pair(e.mapping != nullptr, e.last_use); };
    auto least =
        std::min_element(entries_.begin(), entries_.end(),
                         [&](const Entry& a, const Entry& b) { return rank(a) < rank(b); });
    if (least->mapping != nullptr && num_seen_ - least->last_use < kUsesWithout) return;
    entries_.erase(least);
  }
  entries_.push_back(std::move(entry));
}

void GdrMappings::map(Entry& entry) {
  auto mapped = gdr_->map(entry.begin, entry.end - entry.begin);
  // Where it is refused the copy engine goes on.
  if (mapped.ok()) entry.mapping = *mapped;
  drop_freed();
}

void GdrMappings::drop_freed() {
  last_sweep_ = num_seen_;
  std::erase_if(entries_, [&](const Entry& e) {
    if (e.mapping == nullptr) return false;
    CUpointer_attribute name = CU_POINTER_ATTRIBUTE_BUFFER_ID;
    unsigned long long id = 0;
    void* value = &id;
    return context_.driver().cuPointerGetAttributes(1, &name, &value, e.begin) != CUDA_SUCCESS ||
           id != e.id;
  });
}

void GdrMappings::forget(CUdeviceptr begin, size_t bytes) {
  std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const Entry& e) { return e.overlaps(begin, begin + bytes); });
}

std::shared_ptr<const GdrCopy::Mapping> GdrMappings::find(const void* buffer, size_t bytes) {
  const auto begin = reinterpret_cast<CUdeviceptr>(buffer);
  std::lock_guard lock(mutex_);
  for (const Entry& e : entries_) {
    if (e.mapping != nullptr && e.covers(begin, begin + bytes)) return e.mapping;
  }
  return nullptr;
}

}  // namespace hfr
