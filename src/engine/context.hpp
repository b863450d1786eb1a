// EngineContext: the parts that one rank's engine works with. Wired by comm/, shared by the
// engine's files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/group.hpp"
#include "engine/peer_memory.hpp"
#include "engine/recorder.hpp"
#include "engine/shape.hpp"
#include "engine/staging.hpp"
#include "engine/trace.hpp"
#include "ports/clock.hpp"
#include "ports/device.hpp"
#include "ports/ranges.hpp"
#include "ports/reduce_pool.hpp"
#include "ports/transport.hpp"
#include "sched/schedule.hpp"
#include "topo/tree.hpp"

namespace hfr {

// Sizes at which paths change; the same on all ranks.
struct EngineLimits {
  size_t flat_bytes = 0;  // up to here every rank adds by itself (single node)
  // As far as this, too, where each rank has a buffer that others reach through the kernel only.
  size_t flat_private_bytes = 0;
  size_t publish_bytes = 0;    // flat path: past this a reachable input is read where it is
  size_t butterfly_bytes = 0;  // up to here nodes exchange instead of climbing a tree
  size_t min_chunk_bytes = 4096;
  size_t fine_chunk_bytes =
      0;  // up to fine_until_bytes chunks are no larger than this; 0: than a slot
  size_t fine_until_bytes = 0;
  size_t learn_from_bytes = 0;  // PathTuner
  size_t streaming_bytes = 0;   // from here on results are stored past the caches
  bool stream_results = false;  // likewise what the copy engines alone read from staging
  bool demote_results = false;  // that goes from the adding core's caches to the last one
  size_t run_here_bytes = 0;    // the engine's own thread adds chunks that read up to so much
  size_t group_from_bytes = 0;  // from here on groups of GPUs add first
  // Chunks that this rank copies to staging at a time before EngineContext::gpu_sharers have come
  // as far; 0: any number.
  uint64_t copy_step = 0;
  // Chunks that are handed over together where nobody shares the GPU.
  uint64_t copies_together = 1;
  // An operation's chunks that are copied to staging ahead of the adds; 0: as many as have lanes.
  uint64_t copies_ahead = 0;
  // Chunks of an operation that stays in a group of GPUs are no smaller.
  size_t min_group_chunk_bytes = 4096;
  LinkModel link;  // for the choice between forests
  uint64_t timeout_ns = 0;
};

// This node's schedules, per tree of each forest.
struct NodeSchedules {
  std::vector<Schedule> tree;
  std::vector<Schedule> ring;  // empty where a ring is never chosen
  Schedule butterfly;
  ForestKind forced = ForestKind::kDoubleBinaryTree;
  bool is_forced = false;
};

// The local ranks' shared heap, from which hfr_mem_alloc serves.
struct HeapView {
  std::byte* base = nullptr;  // null until somebody needs it
  size_t bytes = 0;

  bool contains(const void* ptr, size_t size) const {
    auto at = reinterpret_cast<uintptr_t>(ptr);
    auto first = reinterpret_cast<uintptr_t>(base);
    return base != nullptr && at >= first && at + size <= first + bytes;
  }
  // How a post names `ptr`: as an offset in the heap, or as an address.
  uint64_t where(const void* ptr, bool as_offset) const {
    auto at = reinterpret_cast<uintptr_t>(ptr);
    return as_offset ? at - reinterpret_cast<uintptr_t>(base) : at;
  }
};

struct EngineContext {
  Shape shape;
  Staging staging;
  EngineLimits limits;
  NodeSchedules schedules;
  bool one_process =
      false;           // all local ranks are threads of this process: any address can be reached
  bool direct = true;  // reading peers' memory in place is allowed
  PeerMemory peer_memory;  // available: private buffers of the node's processes can be reached
  HeapView heap;
  std::function<std::byte*()> map_heap;  // maps the heap on first use; afterwards heap.base is set
  Clock& clock;
  Device& device;
  ReducePool& pool;
  Transport* transport;  // null with a single node
  Groups groups = {};    // this node's
  // Local ranks of other processes whose copies go over this rank's GPU (copies.cc).
  std::vector<int> gpu_sharers = {};
  Trace* trace = nullptr;        // null: nobody asked
  Recorder* recorder = nullptr;  // null: nothing is recorded
  Ranges* ranges = nullptr;      // null: no profiler is attached
  // Checks chunks on their way (docs/integrity.md); null: nobody asked.
  uint32_t (*checksum)(const void* data, size_t bytes) = nullptr;

  // The owner who makes a final value stores it to its own buffer as it adds, beside the slot that
  // the other local ranks copy out of.
  bool owner_keeps_result() const { return device.host_accessible() && shape.num_local() > 1; }

  // Mapped when the first peer names an address in it.
  std::byte* heap_base() {
    if (heap.base == nullptr) heap.base = map_heap();
    return heap.base;
  }
};

}  // namespace hfr
