// Line: a communicator and those that shrinking or resuming makes of it, one from the other
// (docs/recovery.md, docs/suspend.md). The rules of who may go on, and what survivors tell each
// other. Pure, but for the meeting point.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/private_fd.hpp"
#include "base/status.hpp"
#include "bootstrap/auth.hpp"

namespace hfr {

// Where a rank can be met as long as it has a communicator of the line, or one that a split or a
// growth made of such a one: nobody accepts there but during a shrink or a resume. While it listens
// the rank does not count as gone.
struct MeetingPoint {
  PrivateFd listener;
  HostPort address;

  static Result<std::shared_ptr<MeetingPoint>> open(const std::string& host, int num_ranks);
};

// Who belongs to a child. Members are named by their rank in the line's first communicator.
struct Decision {
  std::string parent;  // what it followed: an id
  std::string id;      // random
  std::vector<int> members;
};

struct Line {
  static constexpr const char* kFirst = "first";  // the id of the line's first communicator
  static constexpr size_t kMostAncestors = 8;     // each is a descriptor

  Secret secret;                    // the first communicator's
  std::vector<HostPort> addresses;  // of the meeting points, by first rank
  int self = 0;                     // this rank, in the first communicator
  std::string id = kFirst;
  std::vector<int> members;       // first ranks, by rank in the communicator of this id
  std::vector<Decision> history;  // the newest last; older ones are known to all members
  std::shared_ptr<MeetingPoint> point;
  // Of the lines that this one came out of, the newest last: who is late in one of them must not
  // take this rank for gone while it goes on here.
  std::vector<std::shared_ptr<MeetingPoint>> ancestors;

  // The ancestors of a line that comes out of this one.
  std::vector<std::shared_ptr<MeetingPoint>> with_ancestors() const;
  // The child with these members, with a new random id. This line does not follow it yet.
  Decision decide(const std::set<int>& members_left) const;
  // Follows decisions that begin at this id. Fails where one goes on without this rank.
  Status follow(std::span<const Decision> decisions);
  // The child was set up on all members: nobody needs to hear of earlier decisions.
  void settle();
  // The last communicator's own secret; the line's for the first.
  Secret communicator_secret() const;
  // What a rank at `their_id` has not heard of yet; nothing when this line did not come from there.
  std::optional<std::vector<Decision>> since(const std::string& their_id) const;
};

// The part of `history` that begins at `id`.
std::optional<std::vector<Decision>> since(std::span<const Decision> history,
                                           const std::string& id);

std::string encode(const Decision& decision);
std::string encode(std::span<const Decision> decisions);
std::optional<std::vector<Decision>> decode_decisions(const std::string& text);
std::string encode(const std::set<int>& ranks);
std::optional<std::vector<int>> decode_ranks(const std::string& text);

enum class Standing { kCame, kGone, kSilent };
// Whether those who came may make a child: nobody is silent, or they are more than half of the
// members, or half with the first of them. The members are those of the last communicator that was
// set up: who was counted in a decision since may not have heard of it, and be in another one.
bool may_go_on(std::span<const Standing> members);

}  // namespace hfr
