#include "base/record_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.hpp"

namespace hfr {
namespace {

using record::File;

// Of ranks, operations and bytes: what no communicator comes to.
constexpr int kMostRanks = 1 << 16;
constexpr uint64_t kMostCounted = uint64_t{1} << 60;

// The bytes at an offset as a value; File itself has atomics, which bytes cannot be copied into.
template <typename Value>
Value value_at(std::span<const std::byte> bytes, size_t offset) {
  Value value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

uint64_t word_at(std::span<const std::byte> bytes, size_t offset) {
  return value_at<uint64_t>(bytes, offset);
}

#define HFR_AT(type, bytes, field) value_at<type>(bytes, offsetof(record::File, field))

// Up to its end; only what a terminal shows as it is.
std::string text_at(std::span<const std::byte> bytes, size_t offset, size_t most) {
  const char* from = reinterpret_cast<const char*>(bytes.data()) + offset;
  std::string text(from, strnlen(from, most));
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

// A rank of the communicator, or -1, from what is stored: rank + 1 above 8 bits of stage.
std::optional<int> rank_of(uint64_t rank_and_stage, int num_ranks) {
  const uint64_t rank_plus_one = rank_and_stage >> 8;
  if (rank_plus_one > static_cast<uint64_t>(num_ranks)) return std::nullopt;
  return static_cast<int>(rank_plus_one) - 1;
}

Status unreadable(const char* why) { return Status(Code::kInvalidArgument, why); }

Status read_identity(std::span<const std::byte> bytes, Record& record) {
  if (HFR_AT(uint64_t, bytes, identity.magic) != record::kMagic)
    return unreadable("it is not a record");
  const auto version = HFR_AT(uint32_t, bytes, identity.version);
  if (version != record::kVersion) {
    return Status(Code::kInvalidArgument,
                  cat("it is a record of version ", version, ", and this program reads version ",
                      record::kVersion));
  }
  RecordOwner& owner = record.owner;
  owner.communicator = HFR_AT(uint64_t, bytes, identity.communicator);
  owner.rank = HFR_AT(int32_t, bytes, identity.rank);
  owner.num_ranks = HFR_AT(int32_t, bytes, identity.num_ranks);
  owner.node = HFR_AT(int32_t, bytes, identity.node);
  owner.num_nodes = HFR_AT(int32_t, bytes, identity.num_nodes);
  owner.local_rank = HFR_AT(int32_t, bytes, identity.local_rank);
  owner.num_local = HFR_AT(int32_t, bytes, identity.num_local);
  auto is_count = [](int value, int most) { return value >= 1 && value <= most; };
  auto is_index = [](int value, int end) { return value >= 0 && value < end; };
  if (!is_count(owner.num_ranks, kMostRanks) || !is_index(owner.rank, owner.num_ranks) ||
      !is_count(owner.num_nodes, owner.num_ranks) || !is_index(owner.node, owner.num_nodes) ||
      !is_count(owner.num_local, owner.num_ranks) || !is_index(owner.local_rank, owner.num_local)) {
    return unreadable("its ranks cannot be");
  }
  record.process.pid = HFR_AT(int32_t, bytes, identity.pid);
  if (record.process.pid <= 0) return unreadable("its process cannot be");
  record.process.start = HFR_AT(uint64_t, bytes, identity.process_start);
  record.process.pid_namespace = HFR_AT(uint64_t, bytes, identity.pid_namespace);
  record.process.boot_id =
      text_at(bytes, offsetof(File, identity.boot_id), sizeof(record::Identity::boot_id));
  record.host = text_at(bytes, offsetof(File, identity.host), sizeof(record::Identity::host));
  record.created_ns = HFR_AT(uint64_t, bytes, identity.created_ns);
  record.created_epoch_ns = HFR_AT(uint64_t, bytes, identity.created_epoch_ns);
  return Status();
}

std::optional<RecordedWait> read_wait(std::span<const std::byte> front, const Record& record) {
  const auto stage_and_rank = HFR_AT(uint64_t, front, wait.rank_and_stage);
  const auto rank = rank_of(stage_and_rank, record.owner.num_ranks);
  RecordedWait result;
  result.operation = HFR_AT(uint64_t, front, wait.operation);
  result.since_ns = HFR_AT(uint64_t, front, wait.since_ns);
  result.looked_ns = HFR_AT(uint64_t, front, wait.looked_ns);
  const uint64_t stage = stage_and_rank & 0xff;
  // One of an operation that has completed since is over.
  if (!rank || stage == 0 || stage >= kNumWaitStages || result.looked_ns < result.since_ns ||
      result.operation != record.completed) {
    return std::nullopt;
  }
  result.wait = {*rank, static_cast<WaitStage>(stage), HFR_AT(uint64_t, front, wait.chunk),
                 HFR_AT(uint64_t, front, wait.num_chunks)};
  return result;
}

void read_ending(std::span<const std::byte> front, Record& record) {
  const auto state = HFR_AT(uint32_t, front, ending.state);
  if (state != static_cast<uint32_t>(record::EndState::kFailed) &&
      state != static_cast<uint32_t>(record::EndState::kDestroyed)) {
    return;
  }
  record.end = static_cast<record::EndState>(state);
  const auto code = HFR_AT(int32_t, front, ending.code);
  const auto rank = HFR_AT(int32_t, front, ending.rank);
  const bool known = rank >= 0 && rank < record.owner.num_ranks;
  record.failed_ns = HFR_AT(uint64_t, front, ending.at_ns);
  record.failure =
      Failure{Status(is_failure_code(code) ? static_cast<Code>(code) : Code::kInternalError,
                     text_at(front, offsetof(File, ending.text), record::kTextBytes)),
              known ? rank : -1};
}

void read_ends(std::span<const std::byte> front, Record& record) {
  record.hosts_rendezvous = HFR_AT(uint64_t, front, ends.watched) == 1;
  const uint64_t num = std::min<uint64_t>(HFR_AT(uint64_t, front, ends.num), record::kMostEnds);
  for (uint64_t i = 0; i < num; ++i) {
    const size_t at = offsetof(File, ends.list) + i * sizeof(record::Ends::End);
    const uint64_t rank_plus_one = word_at(front, at + offsetof(record::Ends::End, rank_plus_one));
    const uint64_t at_ns = word_at(front, at + offsetof(record::Ends::End, at_ns));
    const bool later = record.ends.empty() || at_ns >= record.ends.back().at_ns;
    if (rank_plus_one == 0 || rank_plus_one > static_cast<uint64_t>(record.owner.num_ranks) ||
        !later) {
      return;
    }
    record.ends.push_back({static_cast<int>(rank_plus_one) - 1, at_ns});
  }
}

// Of numbers [0, before) whose ring went on up to `after`: the first one that is still whole.
uint64_t first_whole(uint64_t after, uint64_t ring) { return after < ring ? 0 : after - ring + 1; }

void read_spans(std::span<const std::byte> bytes, uint64_t before, uint64_t after, Record& record) {
  for (uint64_t i = first_whole(after, record::kNumSpans); i < before; ++i) {
    const size_t at = offsetof(File, spans) + i % record::kNumSpans * sizeof(record::Span);
    auto word = [&](size_t field) { return word_at(bytes, at + field); };
    if (word(offsetof(record::Span, number_plus_one)) != i + 1) continue;
    const uint64_t stage_and_rank = word(offsetof(record::Span, stage_and_rank));
    const auto rank = rank_of(stage_and_rank, record.owner.num_ranks);
    RecordedSpan span;
    span.operation = word(offsetof(record::Span, operation));
    span.chunk = word(offsetof(record::Span, chunk));
    span.bytes = word(offsetof(record::Span, bytes));
    span.begin_ns = word(offsetof(record::Span, begin_ns));
    span.end_ns = word(offsetof(record::Span, end_ns));
    if (!rank || (stage_and_rank & 0xff) >= record::kNumSpanStages || span.end_ns < span.begin_ns ||
        span.end_ns > kMostCounted || span.bytes > kMostCounted) {
      continue;
    }
    span.rank = *rank;
    span.stage = static_cast<record::SpanStage>(stage_and_rank & 0xff);
    record.spans.push_back(span);
  }
}

bool read_exactly(int fd, std::span<std::byte> to) {
  size_t done = 0;
  while (done < to.size()) {
    const ssize_t got = pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

Result<Record> read_record(std::span<const std::byte> bytes, std::span<const std::byte> after) {
  const bool whole = bytes.size() >= record::kFileBytes;
  if (bytes.size() < record::kFrontBytes || after.size() < record::kFrontBytes)
    return unreadable("it is too short for a record");
  Record record;
  HFR_RETURN_IF_ERROR(read_identity(bytes, record));
  record.called = HFR_AT(uint64_t, bytes, progress.called);
  const uint64_t num_spans = HFR_AT(uint64_t, bytes, num_spans.value);
  uint64_t called_after =
      std::max(HFR_AT(uint64_t, after, progress.called), HFR_AT(uint64_t, bytes, dump.called));
  uint64_t spans_after =
      std::max(HFR_AT(uint64_t, after, num_spans.value), HFR_AT(uint64_t, bytes, dump.num_spans));
  called_after = std::max(called_after, record.called);
  spans_after = std::max(spans_after, num_spans);
  if (called_after > kMostCounted || spans_after > kMostCounted)
    return unreadable("its counts cannot be");
  record.completed = std::min(HFR_AT(uint64_t, bytes, progress.completed), record.called);
  record.copied_ns = HFR_AT(uint64_t, bytes, dump.at_ns);
  const auto state = HFR_AT(uint32_t, bytes, dump.process);
  if (record.copied_ns != 0 && state < kNumProcessStates)
    record.state_when_copied = static_cast<ProcessState>(state);
  const uint64_t seq = HFR_AT(uint64_t, bytes, wait.seq);
  if (seq % 2 == 0 && seq == HFR_AT(uint64_t, after, wait.seq))
    record.wait = read_wait(bytes, record);
  read_ending(after, record);
  read_ends(after, record);
  record.first_call = record.called;
  if (!whole) return record;
  record.first_call = std::min(first_whole(called_after, record::kNumCalls), record.called);
  for (uint64_t n = record.first_call; n < record.called; ++n) {
    record.calls.push_back(
        word_at(bytes, offsetof(File, calls) + n % record::kNumCalls * sizeof(uint64_t)));
  }
  read_spans(bytes, num_spans, spans_after, record);
  return record;
}

Result<RecordBytes> load_record(int folder_fd, const std::string& path, bool front_only) {
  // Whoever made the file may have made it anything.
  const UniqueFd fd(openat(folder_fd, path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return system_error(path, errno);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return system_error(path, errno);
  if (!S_ISREG(info.st_mode)) return unreadable("it is no regular file");
  RecordBytes result;
  result.bytes.resize(front_only ? record::kFrontBytes : record::kFileBytes);
  result.front_after.resize(record::kFrontBytes);
  std::vector<std::byte> before(record::kFrontBytes);
  if (!read_exactly(fd.get(), before) || !read_exactly(fd.get(), result.bytes) ||
      !read_exactly(fd.get(), result.front_after)) {
    return unreadable("it is too short for a record");
  }
  // The counts of the first reading, so that all that they count was there in the second.
  std::copy(before.begin(), before.end(), result.bytes.begin());
  return result;
}

}  // namespace hfr
