// The layout of a record: what one rank's engine last did, in a file that outlives its process.
// docs/diagnosis.md draws it and says how it is written and read.
//
// Words that change are atomic: other processes read the file while it is written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hfr::record {

constexpr uint64_t kMagic = 0x3164726365726668;  // "hfrecrd1"
constexpr uint32_t kVersion = 1;
constexpr size_t kNumCalls = 512;
constexpr size_t kNumSpans = 896;
constexpr size_t kFrontBytes = 4096;
constexpr size_t kTextBytes = 2048;
constexpr size_t kMostEnds = 32;

// What a span timed. Values are never renumbered.
enum class SpanStage : uint8_t {
  kCopyIn = 0,  // the first five as CopyDirection (ports/device.hpp)
  kCopyOut = 1,
  kPush = 2,
  kGroupAdd = 3,
  kPull = 4,
  kAdd = 5,         // of a chunk, or of this rank's slice
  kInputs = 6,      // waiting for what is to be added; rank: for whom at last
  kFinalValue = 7,  // waiting for it; rank: who sends it
  kPut = 8,         // to `rank`, until the transport is done with it
  kSlices = 9,      // waiting for the other ranks' slices
};
constexpr int kNumSpanStages = 10;

enum class EndState : uint32_t { kOpen = 0, kFailed = 1, kDestroyed = 2 };

// Written before `magic`, then constant.
struct Identity {
  std::atomic<uint64_t> magic;
  uint32_t version;
  uint32_t file_bytes;
  uint64_t communicator;  // the same on all its ranks
  int32_t rank;
  int32_t num_ranks;
  int32_t node;
  int32_t num_nodes;
  int32_t local_rank;
  int32_t num_local;
  // The process: base/process.hpp.
  int32_t pid;
  uint32_t unused;
  uint64_t process_start;
  uint64_t pid_namespace;
  char boot_id[40];
  char host[64];
  uint64_t created_ns;        // CLOCK_MONOTONIC
  uint64_t created_epoch_ns;  // CLOCK_REALTIME
};

struct alignas(64) Progress {
  std::atomic<uint64_t> called;     // operations [0, called)
  std::atomic<uint64_t> completed;  // operations [0, completed)
};

struct alignas(64) SpanCount {
  std::atomic<uint64_t> value;
};

// `seq` is odd while it is written.
struct alignas(64) WaitCell {
  std::atomic<uint64_t> seq;
  std::atomic<uint64_t> operation;
  std::atomic<uint64_t> since_ns;
  std::atomic<uint64_t> looked_ns;       // when this was last true
  std::atomic<uint64_t> rank_and_stage;  // rank + 1, shifted by 8; WaitStage
  std::atomic<uint64_t> chunk;
  std::atomic<uint64_t> num_chunks;
};

// `state` is stored last.
struct alignas(64) Ending {
  std::atomic<uint32_t> state;  // EndState
  int32_t code;                 // base/status.hpp
  int32_t rank;                 // who is to blame; -1: unknown
  uint32_t unused;
  uint64_t at_ns;
  char text[kTextBytes];
};

// Of a copy: the counts once it was made, as the rings went on meanwhile.
struct alignas(64) Dump {
  uint64_t at_ns;  // 0: this is no copy
  uint64_t at_epoch_ns;
  uint64_t called;
  uint64_t num_spans;
  uint32_t process;  // ProcessState, as whoever copied saw it
  uint32_t unused;
};

// Of the rank that hosts the rendezvous, written by its thread: whose connections ended without a
// goodbye, in the order in which it saw that; those of one look at all connections have one time.
struct alignas(64) Ends {
  struct End {
    std::atomic<uint64_t> rank_plus_one;
    std::atomic<uint64_t> at_ns;
  };
  std::atomic<uint64_t> watched;  // 1: this rank hosts it
  std::atomic<uint64_t> num;      // kMostEnds at most: later ones are left out
  End list[kMostEnds];
};

struct Span {
  std::atomic<uint64_t> number_plus_one;
  std::atomic<uint64_t> stage_and_rank;  // stage; rank + 1, shifted by 8
  std::atomic<uint64_t> operation;
  std::atomic<uint64_t> chunk;  // as the communicator numbers them
  std::atomic<uint64_t> bytes;
  std::atomic<uint64_t> begin_ns;
  std::atomic<uint64_t> end_ns;
  std::atomic<uint64_t> unused;
};

struct File {
  Identity identity;
  alignas(512) Progress progress;
  SpanCount num_spans;
  WaitCell wait;
  alignas(256) Ending ending;
  alignas(1024) Dump dump;
  Ends ends;
  alignas(kFrontBytes) std::atomic<uint64_t> calls[kNumCalls];  // signatures (base/signature.hpp)
  Span spans[kNumSpans];
};
constexpr size_t kFileBytes = 65536;
static_assert(sizeof(File) == kFileBytes);
static_assert(offsetof(File, progress) == 512 && offsetof(File, num_spans) == 576);
static_assert(offsetof(File, wait) == 640 && offsetof(File, ending) == 768);
static_assert(offsetof(File, dump) == 3072 && offsetof(File, ends) == 3136);
static_assert(offsetof(File, calls) == kFrontBytes);
static_assert(offsetof(File, spans) == 8192 && sizeof(Span) == 64);
static_assert(std::atomic<uint64_t>::is_always_lock_free, "records are read by other processes");

}  // namespace hfr::record
