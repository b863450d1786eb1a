// Who holds everybody up: from the records of one communicator's ranks, one sentence. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/inspect_load.hpp"

namespace hfr::tools {

// docs/diagnosis.md lists the kinds.
struct Verdict {
  std::string kind = "healthy";
  std::vector<int> culprits;  // ranks
  std::string sentence;
  std::string advice;  // empty: nothing is to be done

  bool healthy() const { return kind == "healthy"; }
};

// Records of one communicator, at least one, at most one a rank.
Verdict judge(const std::vector<RankState>& ranks);

// From then on a wait is told without a failure beside it.
constexpr uint64_t kLongNs = 1'000'000'000;

// Its process is gone, and the communicator was not destroyed before.
bool is_dead(const RankState& rank);
bool all_gone(const std::vector<RankState>& ranks);

// How long the rank has waited for what its record says; nothing when it waits for nothing.
std::optional<uint64_t> waited_ns(const RankState& rank);

// Ranks that should have a record and have none.
std::vector<int> missing_ranks(const std::vector<RankState>& ranks);

// "12.4 s"; the first letter made large
std::string seconds_text(uint64_t ns);
std::string capital(std::string text);
// "rank 3 (node 1, host beta, pid 4410)"; "ranks 0, 1 and 2"
std::string describe(const RankState& rank);
std::string list_ranks(const std::vector<int>& ranks);
// "#41 (all_reduce of 1024 float32, sum)"; the number alone when the record no longer knows.
std::string describe_operation(const std::vector<RankState>& ranks, uint64_t number);
std::optional<uint64_t> signature_of(const Record& record, uint64_t number);

// inspect_ends.cc. Whose end the rendezvous saw before all others'; several, that it saw at one
// look. None: it saw nobody end, or its host's record is not here.
std::vector<int> ended_first(const std::vector<RankState>& ranks);
// "rank 0, which hosts the rendezvous, saw rank 1 end first, 0.9 ms before rank 2"
std::string first_end_text(const std::vector<RankState>& ranks);
// What it means that there is none. A sentence.
std::string nobody_seen_text(const std::vector<RankState>& ranks);

// inspect_mismatch.cc, inspect_set_up.cc, inspect_speeds.cc. Nothing where they find nothing.
std::optional<Verdict> find_mismatch(const std::vector<RankState>& ranks);
std::optional<Verdict> find_in_set_up(const std::vector<RankState>& ranks);
std::optional<Verdict> find_slow(const std::vector<RankState>& ranks);

}  // namespace hfr::tools
