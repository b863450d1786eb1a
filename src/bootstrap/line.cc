#include "bootstrap/line.hpp"

#include <sodium.h>

#include <algorithm>
#include <charconv>

#include "base/pack.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

constexpr size_t kIdBytes = 16;
// Beside one connection of each rank, those of conveners that look whether it lives.
constexpr int kSpareBacklog = 64;

std::string random_id() {
  std::array<unsigned char, kIdBytes> bytes{};
  randombytes_buf(bytes.data(), bytes.size());
  std::string text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string as_string(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <typename Ranks>
std::string encode_ranks(const Ranks& ranks) {
  std::string text;
  for (int rank : ranks) text += cat(text.empty() ? "" : " ", rank);
  return text;
}

}  // namespace

Result<std::shared_ptr<MeetingPoint>> MeetingPoint::open(const std::string& host, int num_ranks) {
  auto point = std::make_shared<MeetingPoint>();
  HFR_ASSIGN_OR_RETURN(UniqueFd listener, listen_tcp({host, 0}, num_ranks + kSpareBacklog));
  point->listener = PrivateFd(std::move(listener));
  HFR_ASSIGN_OR_RETURN(point->address, local_address(point->listener.get()));
  return point;
}

std::vector<std::shared_ptr<MeetingPoint>> Line::with_ancestors() const {
  std::vector<std::shared_ptr<MeetingPoint>> points = ancestors;
  points.push_back(point);
  if (points.size() > kMostAncestors)
    points.erase(points.begin(), points.end() - static_cast<std::ptrdiff_t>(kMostAncestors));
  return points;
}

Decision Line::decide(const std::set<int>& members_left) const {
  return {id, random_id(), {members_left.begin(), members_left.end()}};
}

Status Line::follow(std::span<const Decision> decisions) {
  for (const Decision& next : decisions) {
    if (next.parent != id) return Status(Code::kInternalError, "decisions that do not follow");
    if (std::find(next.members.begin(), next.members.end(), self) == next.members.end()) {
      return Status(Code::kRemoteError,
                    "the other ranks went on without this one, which came too late; it has to "
                    "start anew");
    }
    id = next.id;
    members = next.members;
    history.push_back(next);
  }
  return Status();
}

void Line::settle() {
  if (history.size() > 1) history.erase(history.begin(), history.end() - 1);
}

Secret Line::communicator_secret() const {
  return id == kFirst ? secret : secret.derive(cat("hfreduce child ", id));
}

std::optional<std::vector<Decision>> Line::since(const std::string& their_id) const {
  if (their_id == id) return std::vector<Decision>();
  return hfr::since(history, their_id);
}

std::optional<std::vector<Decision>> since(std::span<const Decision> history,
                                           const std::string& id) {
  auto from = std::find_if(history.begin(), history.end(),
                           [&](const Decision& decision) { return decision.parent == id; });
  if (from == history.end()) return std::nullopt;
  return std::vector<Decision>(from, history.end());
}

std::string encode(const Decision& decision) { return encode(std::span(&decision, 1)); }

std::string encode(std::span<const Decision> decisions) {
  std::vector<std::string> fields;
  for (const Decision& decision : decisions) {
    fields.push_back(
        as_string(pack({decision.parent, decision.id, encode_ranks(decision.members)})));
  }
  return cat(decisions.size(), "\n", as_string(pack(fields)));
}

std::optional<std::vector<Decision>> decode_decisions(const std::string& text) {
  size_t count = 0;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, count);
  // Each takes some bytes: a count beyond them is no list.
  if (error != std::errc() || at == end || *at != '\n' || count > text.size()) return std::nullopt;
  auto fields = unpack(std::as_bytes(std::span(at + 1, end)), count);
  if (!fields) return std::nullopt;
  std::vector<Decision> decisions;
  for (const std::string& field : *fields) {
    auto parts = unpack(std::as_bytes(std::span(field)), 3);
    if (!parts) return std::nullopt;
    auto members = decode_ranks((*parts)[2]);
    if (!members || !std::is_sorted(members->begin(), members->end())) return std::nullopt;
    decisions.push_back({(*parts)[0], (*parts)[1], std::move(*members)});
  }
  return decisions;
}

std::string encode(const std::set<int>& ranks) { return encode_ranks(ranks); }

std::optional<std::vector<int>> decode_ranks(const std::string& text) {
  std::vector<int> ranks;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at != end) {
    int rank = 0;
    auto [stop, error] = std::from_chars(at, end, rank);
    if (error != std::errc() || rank < 0) return std::nullopt;
    ranks.push_back(rank);
    at = stop;
    if (at == end) break;
    if (*at++ != ' ' || at == end) return std::nullopt;
  }
  return ranks;
}

bool may_go_on(std::span<const Standing> members) {
  const auto count = [&](Standing standing) {
    return static_cast<size_t>(std::count(members.begin(), members.end(), standing));
  };
  const size_t came = count(Standing::kCame);
  if (count(Standing::kSilent) == 0 || 2 * came > members.size()) return came > 0;
  return 2 * came == members.size() && members[0] == Standing::kCame;
}

}  // namespace hfr
