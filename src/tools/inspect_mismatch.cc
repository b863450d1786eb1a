// The first operation that ranks called differently, and in what they differ.
#include <algorithm>
#include <map>

#include "base/signature.hpp"
#include "tools/inspect_verdict.hpp"

namespace hfr::tools {
namespace {

struct Sides {
  uint64_t number = 0;
  // The larger one first; of equal ones that of the lowest rank.
  const RankState* many = nullptr;
  const RankState* few = nullptr;
  std::vector<int> ranks_of_many;
  std::vector<int> ranks_of_few;
};

// By signature: who called it so.
std::map<uint64_t, std::vector<const RankState*>> callers(const std::vector<RankState>& ranks,
                                                          uint64_t number) {
  std::map<uint64_t, std::vector<const RankState*>> by_signature;
  for (const RankState& rank : ranks) {
    if (const auto signature = signature_of(rank.record, number))
      by_signature[*signature].push_back(&rank);
  }
  return by_signature;
}

std::optional<Sides> first_difference(const std::vector<RankState>& ranks) {
  uint64_t first = UINT64_MAX;
  uint64_t end = 0;
  for (const RankState& rank : ranks) {
    first = std::min(first, rank.record.first_call);
    end = std::max(end, rank.record.called);
  }
  // Records hold as many calls each; those that are far behind are compared with nobody.
  if (end > first + 2 * record::kNumCalls) first = end - 2 * record::kNumCalls;
  for (uint64_t number = first; number < end; ++number) {
    auto by_signature = callers(ranks, number);
    if (by_signature.size() < 2) continue;
    std::vector<std::vector<const RankState*>> groups;
    for (auto& [signature, group] : by_signature) groups.push_back(std::move(group));
    std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
      if (a.size() != b.size()) return a.size() > b.size();
      return a.front()->record.owner.rank < b.front()->record.owner.rank;
    });
    Sides sides;
    sides.number = number;
    sides.many = groups[0].front();
    sides.few = groups[1].front();
    for (const RankState* rank : groups[0]) sides.ranks_of_many.push_back(rank->record.owner.rank);
    for (const RankState* rank : groups[1]) sides.ranks_of_few.push_back(rank->record.owner.rank);
    return sides;
  }
  return std::nullopt;
}

// From `number` on, how many of `late`'s calls are what `early` called one operation later, as when
// `late` left a call out; 0 when something speaks against it.
uint64_t num_one_behind(const Record& early, const Record& late, uint64_t number) {
  uint64_t count = 0;
  for (uint64_t n = number; n < late.called; ++n) {
    const auto theirs = signature_of(early, n + 1);
    if (!theirs) break;
    if (*theirs != *signature_of(late, n)) return 0;
    ++count;
  }
  return count;
}

std::string reason(const Sides& sides) {
  const Record& many = sides.many->record;
  const Record& few = sides.few->record;
  const uint64_t n = sides.number;
  const auto here_many = *signature_of(many, n);
  const auto here_few = *signature_of(few, n);
  if (signature_of(many, n + 1) == here_few && signature_of(few, n + 1) == here_many)
    return "the order is another";
  const std::string who = list_ranks(sides.ranks_of_few);
  // One call alone may as well be the first half of two that were exchanged.
  auto or_order = [](uint64_t count) { return count == 1 ? "the order is another, or " : ""; };
  if (const uint64_t count = num_one_behind(many, few, n); count > 0)
    return cat(or_order(count), who, " left a call out before it");
  if (const uint64_t count = num_one_behind(few, many, n); count > 0)
    return cat(or_order(count), who, " made a call more before it");
  const uint64_t difference = here_many ^ here_few;
  if ((difference & kMaxCount) != 0) return "the sizes differ";
  if ((difference >> 48 & 0x7f) != 0) return "the types differ";
  if ((difference >> 56 & 0x7f) != 0) return "the operations differ";
  return "one is in a graph";
}

}  // namespace

std::optional<Verdict> find_mismatch(const std::vector<RankState>& ranks) {
  const auto sides = first_difference(ranks);
  if (!sides) return std::nullopt;
  Verdict verdict;
  verdict.kind = "mismatch";
  verdict.culprits = sides->ranks_of_few;
  const std::string few = list_ranks(sides->ranks_of_few);
  const std::string many = list_ranks(sides->ranks_of_many);
  verdict.sentence = cat(
      "Operation #", sides->number, " is not the same on all ranks: ", few, " called ",
      signature_text(*signature_of(sides->few->record, sides->number)), "; ", many, " called ",
      signature_text(*signature_of(sides->many->record, sides->number)), ": ", reason(*sides), ".");
  verdict.advice = cat("All ranks must call the same operations in the same order: compare what ",
                       few, " and ", many, " call up to operation #", sides->number, ".");
  return verdict;
}

}  // namespace hfr::tools
