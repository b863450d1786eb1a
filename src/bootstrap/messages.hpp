// What members and the rendezvous say to each other once membership is proven. A frame is a length
// (4 bytes, little endian) and packed fields (base/pack.hpp), the first of which is the kind.
// Reading is pure; what cannot be read is nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/stalls.hpp"
#include "base/status.hpp"

namespace hfr::rendezvous {

// Member to server: fields after the kind.
constexpr char kJoin = 'J';    // version, rank, num_ranks, settings, label
constexpr char kGather = 'G';  // stage, milliseconds left, blob
constexpr char kReport = 'R';  // code, culprit, sentence
constexpr char kStall = 'S';   // code, blamed rank, sentence, WaitStage, operation, chunk
constexpr char kLeave = 'B';
// Server to member.
constexpr char kGathered = 'g';  // packed blobs of all ranks
constexpr char kFailure = 'f';   // code, culprit, sentence
constexpr char kClosing = 'c';   // the server goes; carry on without

constexpr size_t kMaxBlobBytes = size_t{64} << 10;
constexpr size_t kMaxMemberFrame = kMaxBlobBytes + 4096;
// Of the server: every rank's blob.
constexpr size_t max_server_frame(size_t num_ranks) {
  return num_ranks * (kMaxBlobBytes + 4) + 4096;
}

struct Join {
  std::string version;
  int rank = 0;
  std::string num_ranks, settings, label;
};
struct Gather {
  std::string stage;
  uint64_t left_ms = 0;  // a day at most
  std::string blob;
};
struct Report {
  Failure failure;
};
struct Stall {
  StallReport report;  // of nobody yet: wait.from is not told
};
struct Leave {};
using MemberMessage = std::variant<Join, Gather, Report, Stall, Leave>;

struct GatheredBlobs {
  std::vector<std::vector<std::byte>> blobs;  // by rank
};
struct Verdict {
  Failure failure;
};
struct Closing {};
using ServerMessage = std::variant<GatheredBlobs, Verdict, Closing>;

// Milliseconds until a member's deadline, as it says: a day at most.
std::optional<uint64_t> read_left_ms(const std::string& text);

// Of whom sent what no member sends, and what to do about it.
std::string broke_protocol(const std::string& who, const std::string& how);

std::optional<MemberMessage> read_member_message(std::span<const std::byte> frame);
std::optional<ServerMessage> read_server_message(std::span<const std::byte> frame,
                                                 size_t num_ranks);

// Takes the first frame off `bytes`; nothing when it is not all there yet. Fails for one of more
// than `limit` bytes.
Result<std::optional<std::vector<std::byte>>> take_frame(std::vector<std::byte>& bytes,
                                                         size_t limit);

}  // namespace hfr::rendezvous
