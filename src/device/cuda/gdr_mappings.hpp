// GdrMappings: the buffers of a rank that the CPU reaches through GDRCopy, for small messages.
//
// Mapping takes as long as many copies, so a buffer is mapped when it has come a few times, and
// what is in use is not given up for what may never come again. An allocation may be freed and its
// address given out again: a mapping is used only while the driver gives the address the same id.
//
// Thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "device/cuda/context.hpp"
#include "device/cuda/gdr_copy.hpp"

namespace hfr {

// The largest message that the CPU copies; 0: none.
struct GdrLimits {
  size_t read = 0;
  size_t write = 0;
};

class GdrMappings {
 public:
  static constexpr size_t kMost = 32;
  static constexpr uint64_t kUsesBefore = 4;      // a buffer is mapped when it comes that often
  static constexpr uint64_t kUsesWithout = 4096;  // others' since its last: it may be given up
  // Of smaller allocations all is mapped: what lies beside a small message is another one.
  static constexpr size_t kWhole = size_t{2} << 20;

  explicit GdrMappings(const CudaContext& context) : context_(context) {}
  GdrMappings(const GdrMappings&) = delete;
  GdrMappings& operator=(const GdrMappings&) = delete;

  // From now on. Before any other call.
  void use(GdrCopy& gdr, const GdrLimits& limits);
  bool takes(size_t bytes) const { return bytes <= std::max(limits_.read, limits_.write); }

  // The context is current. The buffer's allocation has that id now
  // (CU_POINTER_ATTRIBUTE_BUFFER_ID). `ours`: forget() comes before it is freed.
  void see(CUdeviceptr buffer, size_t bytes, uint64_t id, bool ours);
  void forget(CUdeviceptr begin, size_t bytes);

  // Null: the copy engine does it. Of a buffer that see() has been told of in this operation.
  std::shared_ptr<const GdrCopy::Mapping> reader(const void* buffer, size_t bytes) {
    return bytes <= limits_.read ? find(buffer, bytes) : nullptr;
  }
  std::shared_ptr<const GdrCopy::Mapping> writer(const void* buffer, size_t bytes) {
    return bytes <= limits_.write ? find(buffer, bytes) : nullptr;
  }

 private:
  struct Entry {
    CUdeviceptr begin = 0;  // inside the allocation, unlike what is mapped
    CUdeviceptr end = 0;
    uint64_t id = 0;
    bool mappable = false;
    uint64_t uses = 0;
    uint64_t last_use = 0;
    std::shared_ptr<const GdrCopy::Mapping> mapping;

    bool overlaps(CUdeviceptr from, CUdeviceptr to) const { return begin < to && from < end; }
    bool covers(CUdeviceptr from, CUdeviceptr to) const { return begin <= from && to <= end; }
  };
  std::shared_ptr<const GdrCopy::Mapping> find(const void* buffer, size_t bytes);
  Entry make_entry(CUdeviceptr buffer, size_t bytes, uint64_t id, bool ours) const;
  void add(Entry entry);
  void map(Entry& entry);
  // What was freed meanwhile.
  void drop_freed();

  const CudaContext& context_;
  GdrCopy* gdr_ = nullptr;
  GdrLimits limits_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
  uint64_t num_seen_ = 0;
  uint64_t last_sweep_ = 0;  // for what was freed
};

}  // namespace hfr
