// Operation: one started allreduce on one rank, from submission to completion.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "base/types.hpp"
#include "ports/device.hpp"
#include "sched/plan.hpp"
#include "sched/schedule.hpp"

namespace hfr {

struct OpDescriptor {
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  uint64_t scale = 0;  // Op::kPremulSum: this rank's factor (base/types.hpp)
  bool ready = true;   // false: a stream says later when the input is there (Executor::set_ready)
  bool on_device = false;  // that stream is the device's own (UserSide)

  // A small message of a GPU goes through host memory, which submit() takes: send and recv are that
  // then, and the result goes on in the order of `gpu_stream`.
  bool bounced = false;
  // Until decide() its copies stay where they are: whether they are handed over early is not known.
  bool undecided = false;
  bool gated = false;  // the copy back stands in the stream; false: the engine hands it over
  Bounce* bounce = nullptr;
  void* gpu_stream = nullptr;

  // Its copies stand in a graph.
  GraphCopies* graph = nullptr;
};

// How an operation travels. All ranks choose the same, from what all can see.
enum class OpPath : uint8_t {
  kFlat,    // small, one node: inputs are published, every rank adds all of them
  kDirect,  // one node, all buffers reachable: each rank adds its slice and writes it to all
  kLanes,   // chunk by chunk through staging, and between nodes
};

enum class OpState : uint8_t {
  kQueued,   // waits for its input or for a place in the post ring
  kPosted,   // announced; waits for the other local ranks' posts
  kRunning,  // on its path
  kAdded,    // bounced: the result is in host memory
  kLeaving,  // bounced: it is on its way to the GPU
  kDone,
};

struct Operation {
  OpDescriptor desc;
  uint64_t number = 0;
  uint64_t signature = 0;
  size_t bytes = 0;
  std::atomic<bool> ready{false};
  OpState state = OpState::kQueued;
  uint64_t started_ns =
      0;  // set by the first slow check that sees it ready; deadlines count from here

  uint64_t submitted_ns = 0;  // likewise, ready or not

  // Where each local rank's buffers can be read and written; null where they cannot.
  std::vector<const std::byte*> sends;
  std::vector<std::byte*> recvs;
  std::vector<uint64_t> peer_sends;  // kDirect: for PeerMemory where sends is null
  std::vector<uint64_t> peer_recvs;  // likewise
  std::vector<uint64_t> scales;      // each local rank's OpDescriptor::scale
  OpPath path = OpPath::kLanes;
  int posts_seen = 0;           // kPosted: local ranks whose posts are there
  bool by_kernel = false;       // kDirect: some buffer is reached with PeerMemory
  bool added = false;           // kFlat, kDirect: this rank's adding is done
  bool reads_in_place = false;  // some post says that its input may be read where it is
  uint64_t timed_from_ns = 0;   // for the PathTuner; 0: not timed
  uint64_t posted_ns = 0;       // for the meters; 0: not timed
  uint64_t range = 0;           // a profiler's; 0: none

  uint64_t stage_began_ns = 0;  // kDirect: for the recorder; 0: not timed
  int waited_for = -1;          // likewise: whose slice was missing at last

  // kDirect: bytes of this rank's slice that are done. kLanes: the chunks.
  size_t slice_done = 0;
  uint64_t first_chunk = 0;
  uint64_t num_chunks = 0;
  // In a graph chunk i is always copied to the same slot: it takes lane i mod window. The chunks
  // before, up to the first lane, are empty and all that happens is that they are over.
  uint64_t num_empty = 0;
  Chunking chunking;
  bool butterfly = false;
  const std::vector<Schedule>* forest = nullptr;
  bool grouped = false;       // groups of GPUs add first
  bool stays_inside = false;  // and all ranks are of one group: nothing goes through staging
  // Chunks handed to each direction's queue, or not needing it.
  std::array<uint64_t, kNumDirections> fed{};
  uint64_t seen_in = 0;       // in a graph: chunks whose copies were seen to have finished
  uint64_t seen_out = 0;      // likewise
  uint64_t copy_out_end = 0;  // chunk + 1 of the last one queued on its way to the result; 0: none
  uint64_t retired = 0;       // chunks of this rank's own lanes that are finished
  uint64_t owned = 0;         // how many there are

  const Schedule& schedule(uint64_t chunk, const Schedule& butterfly_schedule) const {
    return butterfly ? butterfly_schedule : (*forest)[chunk % forest->size()];
  }
  uint64_t& fed_to(CopyDirection direction) { return fed[static_cast<size_t>(direction)]; }
  bool all_fed() const {
    return std::all_of(fed.begin(), fed.end(),
                       [&](uint64_t chunks) { return chunks == num_chunks; });
  }
  size_t chunk_offset(uint64_t chunk) const { return chunking.offset(data_idx(chunk)); }
  size_t chunk_size(uint64_t chunk) const { return chunking.size(data_idx(chunk)); }
  // Which piece of the message it carries.
  uint64_t data_idx(uint64_t chunk) const { return chunk - first_chunk - num_empty; }
  bool is_empty(uint64_t chunk) const { return chunk - first_chunk < num_empty; }
  bool has_chunk(uint64_t chunk) const {
    return chunk >= first_chunk && chunk < first_chunk + num_chunks;
  }
};

inline std::string operation_text(const Operation& o) {
  return cat("operation #", o.number, " (", signature_text(o.signature), ")");
}

}  // namespace hfr
