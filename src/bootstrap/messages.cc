#include "bootstrap/messages.hpp"

#include <algorithm>

#include "base/pack.hpp"
#include "base/text.hpp"

namespace hfr::rendezvous {
namespace {

constexpr uint64_t kDayMs = 86'400'000;
constexpr size_t kLengthBytes = 4;

// The kind of a frame whose first field is one byte; 0 of any other.
char kind_of(std::span<const std::byte> frame) {
  if (frame.size() <= kLengthBytes) return 0;
  return static_cast<char>(frame[kLengthBytes]);
}

// Fields 1 to 3 of kReport, kStall and kFailure. A failure never says that all is well.
std::optional<Failure> read_failure(const std::vector<std::string>& fields) {
  const auto code = parse_whole<int>(fields[1]);
  const auto rank = parse_whole<int>(fields[2]);
  if (!rank || !code || !is_failure_code(*code)) return std::nullopt;
  return Failure{Status(static_cast<Code>(*code), fields[3]), *rank};
}

std::optional<Failure> read_failure(std::span<const std::byte> frame) {
  const auto fields = unpack(frame, 4);
  if (!fields) return std::nullopt;
  return read_failure(*fields);
}

std::optional<Stall> read_stall(std::span<const std::byte> frame) {
  const auto fields = unpack(frame, 7);
  if (!fields) return std::nullopt;
  auto failure = read_failure(*fields);
  const auto stage = parse_whole<int>((*fields)[4]);
  const auto operation = parse_whole<uint64_t>((*fields)[5]);
  const auto chunk = parse_whole<uint64_t>((*fields)[6]);
  if (!failure || !stage || *stage < 0 || *stage >= kNumWaitStages || !operation || !chunk)
    return std::nullopt;
  const WaitEdge wait = {-1, failure->rank, static_cast<WaitStage>(*stage), *operation, *chunk};
  return Stall{{wait, std::move(failure->status)}};
}

std::optional<Join> read_join(std::span<const std::byte> frame) {
  const auto fields = unpack(frame, 6);
  if (!fields) return std::nullopt;
  const auto rank = parse_whole<int>((*fields)[2]);
  if (!rank) return std::nullopt;
  return Join{(*fields)[1], *rank, (*fields)[3], (*fields)[4], (*fields)[5]};
}

std::optional<Gather> read_gather(std::span<const std::byte> frame) {
  const auto fields = unpack(frame, 4);
  if (!fields) return std::nullopt;
  const auto left_ms = read_left_ms((*fields)[2]);
  if (!left_ms) return std::nullopt;
  return Gather{(*fields)[1], *left_ms, (*fields)[3]};
}

std::optional<GatheredBlobs> read_gathered(std::span<const std::byte> frame, size_t num_ranks) {
  const auto fields = unpack(frame, 2);
  if (!fields) return std::nullopt;
  const auto blobs = unpack(std::as_bytes(std::span((*fields)[1])), num_ranks);
  if (!blobs) return std::nullopt;
  GatheredBlobs gathered;
  for (const std::string& blob : *blobs) {
    const auto bytes = std::as_bytes(std::span(blob));
    gathered.blobs.emplace_back(bytes.begin(), bytes.end());
  }
  return gathered;
}

}  // namespace

std::optional<uint64_t> read_left_ms(const std::string& text) {
  const auto left_ms = parse_whole<uint64_t>(text);
  if (!left_ms) return std::nullopt;
  return std::min(*left_ms, kDayMs);
}

std::string broke_protocol(const std::string& who, const std::string& how) {
  return cat(who, " broke the protocol of the rendezvous: ", how,
             "; see that all ranks run the same build of the library");
}

std::optional<MemberMessage> read_member_message(std::span<const std::byte> frame) {
  switch (kind_of(frame)) {
    case kJoin:
      return read_join(frame);
    case kGather:
      return read_gather(frame);
    case kReport:
      if (auto failure = read_failure(frame)) return Report{std::move(*failure)};
      break;
    case kStall:
      return read_stall(frame);
    case kLeave:
      return Leave{};
    default:
      break;
  }
  return std::nullopt;
}

std::optional<ServerMessage> read_server_message(std::span<const std::byte> frame,
                                                 size_t num_ranks) {
  switch (kind_of(frame)) {
    case kGathered:
      return read_gathered(frame, num_ranks);
    case kFailure:
      if (auto failure = read_failure(frame)) return Verdict{std::move(*failure)};
      break;
    case kClosing:
      return Closing{};
    default:
      break;
  }
  return std::nullopt;
}

Result<std::optional<std::vector<std::byte>>> take_frame(std::vector<std::byte>& bytes,
                                                         size_t limit) {
  std::optional<std::vector<std::byte>> frame;
  if (bytes.size() < kLengthBytes) return frame;
  size_t size = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) size |= std::to_integer<size_t>(bytes[i]) << (8 * i);
  if (size > limit) {
    return Status(Code::kRemoteError,
                  cat("a frame of ", size, " bytes, at most ", limit, " are allowed"));
  }
  if (bytes.size() - kLengthBytes < size) return frame;
  const auto begin = bytes.begin() + kLengthBytes;
  const auto end = begin + static_cast<std::ptrdiff_t>(size);
  frame.emplace(begin, end);
  bytes.erase(bytes.begin(), end);
  return frame;
}

}  // namespace hfr::rendezvous
