// Reads records (record_layout.hpp) while they are written, or after. Every byte may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/process.hpp"
#include "base/record_file.hpp"
#include "base/record_layout.hpp"
#include "base/status.hpp"
#include "base/wait.hpp"

namespace hfr {

struct RecordedSpan {
  record::SpanStage stage = record::SpanStage::kCopyIn;
  int rank = -1;
  uint64_t operation = 0;
  uint64_t chunk = 0;
  uint64_t bytes = 0;
  uint64_t begin_ns = 0;
  uint64_t end_ns = 0;
};

struct RecordedWait {
  uint64_t operation = 0;
  uint64_t since_ns = 0;
  uint64_t looked_ns = 0;
  Wait wait;
};

// The rendezvous saw the rank's connection end.
struct RecordedEnd {
  int rank = -1;
  uint64_t at_ns = 0;
};

// What a record says. Times are CLOCK_MONOTONIC's of its machine.
struct Record {
  RecordOwner owner;
  ProcessIdentity process;
  std::string host;
  uint64_t created_ns = 0;
  uint64_t created_epoch_ns = 0;
  uint64_t called = 0;
  uint64_t completed = 0;
  uint64_t first_call = 0;      // operation of calls[0]
  std::vector<uint64_t> calls;  // signatures
  std::optional<RecordedWait> wait;
  record::EndState end = record::EndState::kOpen;
  std::optional<Failure> failure;
  uint64_t failed_ns = 0;
  bool hosts_rendezvous = false;
  std::vector<RecordedEnd> ends;  // that it saw then, in that order
  uint64_t copied_ns = 0;         // 0: this is no copy
  ProcessState state_when_copied = ProcessState::kUnknown;
  std::vector<RecordedSpan> spans;  // oldest first
};

// A file's bytes, and its first page again, read afterwards: what changed meanwhile is left out.
// Bytes that are short, or no record of this version, are an error. Only the front of a record is
// read from `bytes` of kFrontBytes.
Result<Record> read_record(std::span<const std::byte> bytes,
                           std::span<const std::byte> front_after);

// Reads both from a file. Not a regular file, too short: an error.
struct RecordBytes {
  std::vector<std::byte> bytes;
  std::vector<std::byte> front_after;
};
Result<RecordBytes> load_record(int folder_fd, const std::string& path, bool front_only = false);

}  // namespace hfr
