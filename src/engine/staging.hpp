// Staging: the layout of the segment that a node's ranks share.
//
//   +----------------------------------------------------------------------------+
//   | FailureCell        the first failure on this node, in words                |
//   | posts[rank][ring]  what each rank has started; small messages ride along   |
//   | counters           per rank: read, sliced, busy, cpu; per lane: added,     |
//   |                    published, landed[rank], drained[rank], summed[rank],   |
//   |                    carried[rank], checksums         (a cache line each)    |
//   | board              adds that wait for a thread: the reduce pool's own      |
//   | lanes[window]      input[rank] | result | child[n] | round[2 * rounds]     |
//   +----------------------------------------------------------------------------+
//
// Every counter is written by one rank and, but for busy and cpu, only grows. A slot is free for
// its next use when the counter named beside it says so:
//
//   | post   | op - ring has completed on every rank (kMaxOpenOps)              |
//   | input  | added[lane] >= the lane's previous chunk + 1                     |
//   | result | drained[lane][*] >= the lane's previous chunk + 1                |
//   | child  | our contribution's parent role: the tree's own rule              |
//   |        | (docs/schedules.md)                                              |
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/counter.hpp"
#include "base/shared_memory.hpp"
#include "base/status.hpp"
#include "topo/tree.hpp"

namespace hfr {

// Operations that a rank may have posted and not completed: half the ring, so that a post is never
// overwritten while somebody may read it.
constexpr int kPostRing = 16;
constexpr int kMaxOpenOps = kPostRing / 2;

// Everything that fixes the layout; equal on all ranks of a node.
struct StagingShape {
  int num_local = 1;
  int window = 1;
  int num_children = 0;    // slots for other nodes' partial sums
  int num_rounds = 0;      // butterfly rounds between nodes
  size_t slot_bytes = 0;   // a chunk at most
  size_t round_bytes = 0;  // a butterfly message at most
  size_t flat_bytes = 0;   // a published message at most
  size_t board_bytes = 0;  // what pools that add for each other share; 0: they do not
  bool operator==(const StagingShape&) const = default;
};

// One rank's announcement of one operation: its first cache line says everything and holds a tiny
// message.
struct alignas(kCacheLine) Post {
  static constexpr size_t kInlineBytes = 16;
  enum Flags : uint32_t {
    kSendDirect = 1,  // peers may read the input where it is
    kRecvDirect = 2,  // peers may write the result where it goes
    kPublished = 4,   // the input is in this post
    kPeerMemory = 8,  // what peers cannot touch directly they reach with PeerMemory
    kStaged = 16,     // only this rank's copy engine reaches the buffers
  };

  std::atomic<uint64_t> seq;  // operation number + 1, stored last
  uint64_t signature;         // base/signature.hpp
  uint64_t send;  // heap offset; an address when the node is one process, or for PeerMemory
  uint64_t recv;
  uint32_t flags;
  uint32_t unused;
  uint64_t scale;                   // OpDescriptor::scale
  std::byte payload[kInlineBytes];  // and on into the lines that follow the post
};
static_assert(sizeof(Post) == kCacheLine);

// The first failure on the node. state: 0 none, 1 being written, 2 readable.
struct FailureCell {
  static constexpr size_t kTextBytes = 4000;
  std::atomic<uint32_t> state;
  int32_t code;
  int32_t rank;  // who is to blame, -1 unknown
  char text[kTextBytes];
};

class Staging {
 public:
  static size_t bytes_needed(const StagingShape& shape);
  // `memory` has bytes_needed(shape) bytes, zeroed when the node's first rank comes.
  Staging(const StagingShape& shape, std::byte* memory);

  const StagingShape& shape() const { return shape_; }

  FailureCell& failure() const { return *reinterpret_cast<FailureCell*>(memory_); }
  Post& post(int local_rank, uint64_t op) const {
    size_t idx = static_cast<size_t>(local_rank) * kPostRing + op % kPostRing;
    return *reinterpret_cast<Post*>(memory_ + posts_offset_ + idx * post_stride_);
  }

  Counter& read(int local_rank) const { return counter(local_rank); }
  Counter& sliced(int local_rank) const { return counter(shape_.num_local + local_rank); }
  Counter& busy(int local_rank) const { return counter(2 * shape_.num_local + local_rank); }
  // Where it last waited: the CPU's number + 1 (engine/cpu_sharing.hpp).
  Counter& cpu(int local_rank) const { return counter(3 * shape_.num_local + local_rank); }
  Counter& added(int lane) const { return lane_counter(lane, 0); }
  Counter& published(int lane) const { return lane_counter(lane, 1); }
  Counter& landed(int lane, int local_rank) const { return lane_counter(lane, 2 + local_rank); }
  Counter& drained(int lane, int local_rank) const {
    return lane_counter(lane, 2 + shape_.num_local + local_rank);
  }
  // By a group's carrier (engine/group.hpp): its group's sum is in its inbox; the final value is in
  // its outbox.
  Counter& summed(int lane, int local_rank) const {
    return lane_counter(lane, 2 + 2 * shape_.num_local + local_rank);
  }
  Counter& carried(int lane, int local_rank) const {
    return lane_counter(lane, 2 + 3 * shape_.num_local + local_rank);
  }

  // Checksum words (ports/checksum.hpp), where they are asked for. Of what this rank copied in,
  // stored before landed; of the final value, stored by the owner before published.
  Counter& input_checksum(int lane, int local_rank) const {
    return lane_counter(lane, 2 + 4 * shape_.num_local + local_rank);
  }
  Counter& result_checksum(int lane) const { return lane_counter(lane, 2 + 5 * shape_.num_local); }
  int counters_per_lane() const { return 3 + 5 * shape_.num_local; }

  std::byte* board() const { return memory_ + board_offset_; }

  std::byte* input(int lane, int local_rank) const {
    return lane_memory(lane) + static_cast<size_t>(local_rank) * slot_stride_;
  }
  std::byte* result(int lane) const { return input(lane, shape_.num_local); }
  std::byte* child(int lane, int idx) const { return input(lane, shape_.num_local + 1 + idx); }
  // `copy`: 0 or 1, by turns.
  std::byte* round(int lane, int idx, int copy) const {
    return input(lane, shape_.num_local + 1 + shape_.num_children) +
           static_cast<size_t>(idx * 2 + copy) * shape_.round_bytes;
  }

 private:
  Counter& counter(int idx) const {
    return reinterpret_cast<Counter*>(memory_ + counters_offset_)[idx];
  }
  Counter& lane_counter(int lane, int idx) const {
    return counter(4 * shape_.num_local + lane * counters_per_lane() + idx);
  }
  std::byte* lane_memory(int lane) const {
    return memory_ + lanes_offset_ + static_cast<size_t>(lane) * lane_stride_;
  }

  StagingShape shape_;
  std::byte* memory_ = nullptr;
  size_t posts_offset_ = 0;
  size_t post_stride_ = 0;
  size_t counters_offset_ = 0;
  size_t board_offset_ = 0;
  size_t lanes_offset_ = 0;
  size_t slot_stride_ = 0;
  size_t lane_stride_ = 0;
  size_t total_bytes_ = 0;
};

}  // namespace hfr
