#include "tools/inspect_verdict.hpp"

#include <algorithm>
#include <map>

#include "base/signature.hpp"
#include "base/wait_graph.hpp"
#include "tools/print_format.hpp"

namespace hfr::tools {
namespace {

constexpr size_t kMostListed = 16;

// Who waits in the end, for whom.
struct Edge {
  const RankState* from = nullptr;
  int to = -1;
  Wait wait;
  uint64_t operation = 0;
};

class Judge {
 public:
  explicit Judge(const std::vector<RankState>& ranks) : ranks_(ranks) {
    for (const RankState& rank : ranks) by_rank_[rank.record.owner.rank] = &rank;
  }

  Verdict judge() const {
    if (auto verdict = find_mismatch(ranks_)) return *verdict;
    const bool failed = std::any_of(ranks_.begin(), ranks_.end(),
                                    [](const RankState& r) { return r.record.failure; });
    if (failed) return judge_failure();
    if (auto verdict = find_dead()) return *verdict;
    if (auto verdict = find_stopped()) return *verdict;
    if (auto verdict = find_in_set_up(ranks_)) return with_first_end(*verdict);
    if (auto verdict = follow_waits(kLongNs)) return with_first_end(*verdict);
    if (auto verdict = find_not_meeting()) return with_first_end(*verdict);
    if (auto verdict = find_all_gone()) return *verdict;
    if (auto verdict = find_slow(ranks_)) return *verdict;
    Verdict verdict;
    verdict.sentence = cat("Nothing is wrong: ", progress_text(), ".");
    return verdict;
  }

 private:
  const RankState* at(int rank) const {
    const auto found = by_rank_.find(rank);
    return found == by_rank_.end() ? nullptr : found->second;
  }

  std::string who(int rank) const {
    const RankState* state = at(rank);
    return state == nullptr ? cat("rank ", rank) : describe(*state);
  }

  std::string operation(uint64_t number) const { return describe_operation(ranks_, number); }

  // "operation 41 is under way"
  std::string progress_text() const {
    uint64_t called = 0;
    uint64_t completed = UINT64_MAX;
    for (const RankState& rank : ranks_) {
      called = std::max(called, rank.record.called);
      completed = std::min(completed, rank.record.completed);
    }
    if (called == 0) return "no operation has been called";
    if (called == completed) return cat("all ranks have completed ", called, " operations");
    return cat("operation #", completed, " is under way");
  }

  // Those that wait in an operation; `least_ns`: for so long.
  std::vector<const RankState*> waiting(uint64_t least_ns) const {
    std::vector<const RankState*> result;
    for (const RankState& rank : ranks_) {
      const auto ns = waited_ns(rank);
      if (!ns || *ns < least_ns) continue;
      const WaitStage stage = rank.record.wait->wait.stage;
      if (stage != WaitStage::kMeeting && !is_of_set_up(stage)) result.push_back(&rank);
    }
    return result;
  }

  // ", for which ranks 0 and 1 have waited for 12.4 s"
  std::string for_which(uint64_t least_ns, const std::vector<int>& but) const {
    std::vector<int> names;
    uint64_t longest = 0;
    for (const RankState* rank : waiting(least_ns)) {
      const int name = rank->record.owner.rank;
      if (std::count(but.begin(), but.end(), name) > 0) continue;
      names.push_back(name);
      longest = std::max(longest, *waited_ns(*rank));
    }
    if (names.empty()) return "";
    return cat(list_ranks(names), names.size() == 1 ? " has" : " have", " waited for ",
               seconds_text(longest));
  }

  // ---- failures -------------------------------------------------------------------------------

  // What most ranks took for the cause; of equally many, the lowest rank's.
  const RankState& failed_first() const {
    std::map<std::pair<int, int>, int> votes;
    auto key = [](const RankState& r) {
      const Failure& failure = *r.record.failure;
      return std::make_pair(static_cast<int>(failure.status.code()), failure.rank);
    };
    const RankState* best = nullptr;
    for (const RankState& rank : ranks_) {
      if (rank.record.failure) ++votes[key(rank)];
    }
    for (const RankState& rank : ranks_) {
      if (rank.record.failure && (best == nullptr || votes[key(rank)] > votes[key(*best)]))
        best = &rank;
    }
    return *best;
  }

  Verdict judge_failure() const {
    const RankState& first = failed_first();
    const Failure& failure = *first.record.failure;
    std::string said = cat("rank ", first.record.owner.rank, " said: ", failure.status.message());
    if (said.back() != '.') said += ".";
    Verdict verdict;
    verdict.kind = "failed";
    if (failure.rank >= 0) verdict.culprits = {failure.rank};
    switch (failure.status.code()) {
      case Code::kMismatch:
        verdict.kind = "mismatch";
        verdict.sentence = cat("The ranks called different operations; ", said);
        verdict.advice = "All ranks must call the same operations in the same order.";
        return verdict;
      case Code::kRemoteError: {
        const RankState* blamed = at(failure.rank);
        const bool lives = blamed != nullptr && (blamed->process == ProcessState::kRunning ||
                                                 blamed->process == ProcessState::kStopped);
        // Who has failed itself lived on.
        const bool found_fault = blamed != nullptr && blamed->record.failure.has_value();
        if (failure.rank >= 0 && !lives && !found_fault) return tell_dead({failure.rank}, said);
        break;
      }
      case Code::kTimeout:
        if (auto stopped = find_stopped()) return *stopped;
        if (auto found = follow_waits(0)) return *found;
        break;
      default:
        break;
    }
    verdict.sentence = cat("The communicator has failed; ", said);
    verdict.advice = "docs/recovery.md says how the ranks that are left go on.";
    return verdict;
  }

  // ---- processes ------------------------------------------------------------------------------

  std::optional<Verdict> find_dead() const {
    std::vector<int> dead;
    for (const RankState& rank : ranks_) {
      if (is_dead(rank)) dead.push_back(rank.record.owner.rank);
    }
    if (dead.empty() || dead.size() == ranks_.size()) return std::nullopt;
    std::string more = for_which(0, dead);
    if (dead.size() > 1 && !ended_first(ranks_).empty())
      more += cat(more.empty() ? "" : "; ", first_end_text(ranks_));
    if (!more.empty()) more += ".";
    return tell_dead(dead, more);
  }

  // `more`: a sentence's end, with its full stop, or nothing.
  Verdict tell_dead(const std::vector<int>& dead, const std::string& more) const {
    Verdict verdict;
    verdict.kind = "dead";
    verdict.culprits = dead;
    const RankState* first = at(dead.front());
    std::string ended;
    if (first == nullptr) {
      ended = ", of which there is no record,";
    } else if (first->record.called > first->record.completed) {
      ended = cat(", which ended in operation ", operation(first->record.completed), ",");
    } else if (first->record.called > 0) {
      ended = cat(", which ended after operation ", operation(first->record.called - 1), ",");
    }
    const std::string name = dead.size() == 1 ? who(dead.front()) : list_ranks(dead);
    verdict.sentence =
        cat(capital(name), dead.size() == 1 ? ended : "",
            dead.size() == 1 ? " is dead" : " are dead", more.empty() ? "." : cat("; ", more));
    verdict.advice =
        "Look for why it ended: its output, the kernel's log (out of memory), the scheduler's. The "
        "ranks that are left can go on with hfr_comm_shrink (docs/recovery.md).";
    return verdict;
  }

  Verdict with_first_end(Verdict verdict) const {
    if (all_gone(ranks_) && !ended_first(ranks_).empty())
      verdict.sentence += cat(" All processes are gone; ", first_end_text(ranks_), ".");
    return verdict;
  }

  // The job ended, by itself or from outside, and nobody found fault.
  std::optional<Verdict> find_all_gone() const {
    if (!all_gone(ranks_)) return std::nullopt;
    std::vector<int> open;
    for (const RankState& rank : ranks_) {
      if (rank.record.called > rank.record.completed) open.push_back(rank.record.owner.rank);
    }
    if (open.empty()) return std::nullopt;
    if (const auto first = ended_first(ranks_); !first.empty()) {
      Verdict verdict =
          tell_dead(first, cat("so are all others, and ", first_end_text(ranks_), "."));
      verdict.advice =
          "Look for why it ended: its output, the kernel's log (out of memory), the scheduler's. "
          "Launchers end all ranks once one has ended; but a job that is ended as a whole leaves "
          "such an order, too.";
      return verdict;
    }
    Verdict verdict;
    verdict.kind = "dead";
    verdict.culprits = open;
    verdict.sentence =
        cat("All processes are gone, and ", list_ranks(open),
            " ended in the middle of an operation: ", operation(at(open.front())->record.completed),
            ". ", nobody_seen_text(ranks_));
    if (const auto edge = last_edge(0)) {
      verdict.sentence += cat(" Who waited then waited for rank ", edge->to,
                              " in the end: ", wait_text(edge->wait), ".");
    }
    verdict.advice = "Somebody ended the job: see the scheduler's and the launcher's logs.";
    return verdict;
  }

  std::optional<Verdict> find_stopped() const {
    std::vector<int> stopped;
    std::string pids;
    for (const RankState& rank : ranks_) {
      if (rank.process != ProcessState::kStopped) continue;
      stopped.push_back(rank.record.owner.rank);
      pids += cat(" ", rank.record.process.pid);
    }
    if (stopped.empty()) return std::nullopt;
    Verdict verdict;
    verdict.kind = "stopped";
    verdict.culprits = stopped;
    const std::string waits = for_which(0, stopped);
    const bool one = stopped.size() == 1;
    verdict.sentence =
        cat(capital(one ? who(stopped.front()) : list_ranks(stopped)), one ? " is" : " are",
            " stopped (SIGSTOP, or a debugger)", waits.empty() ? "" : cat("; ", waits), ".");
    verdict.advice = cat("Let it go on: kill -CONT", pids, "; or see who stopped it.");
    return verdict;
  }

  // ---- waits ----------------------------------------------------------------------------------

  // What all wait for in the end.
  std::optional<Edge> last_edge(uint64_t least_ns) const {
    std::vector<Edge> edges;
    std::vector<WaitEdge> graph;
    for (const RankState* rank : waiting(least_ns)) {
      const Wait& wait = rank->record.wait->wait;
      const uint64_t operation = rank->record.wait->operation;
      edges.push_back({rank, wait.rank, wait, operation});
      graph.push_back({rank->record.owner.rank, wait.rank, wait.stage, operation, wait.chunk});
    }
    const auto holdup = find_holdup(graph);
    if (!holdup) return std::nullopt;
    return edges[*holdup];
  }

  std::optional<Verdict> follow_waits(uint64_t least_ns) const {
    const auto edge = last_edge(least_ns);
    if (!edge) return std::nullopt;
    return tell_wait(*edge, least_ns);
  }

  Verdict tell_wait(const Edge& edge, uint64_t least_ns) const {
    const RankState* blamed = at(edge.to);
    Verdict verdict;
    verdict.culprits = {edge.to};
    const std::string name = who(edge.to);
    const std::string in = cat("operation ", operation(edge.operation));
    if (blamed != nullptr && blamed->record.called <= edge.operation)
      return tell_never_called(edge, least_ns);
    const int pid = blamed == nullptr ? 0 : blamed->record.process.pid;
    const std::string waits = for_which(least_ns, {edge.to});
    const std::string tail = cat(waits.empty() ? "" : cat("; ", waits), ".");
    switch (edge.wait.stage) {
      case WaitStage::kStream:
        verdict.kind = "stuck_stream";
        verdict.sentence =
            cat(capital(name), " has called ", in, ", and the stream does not come to it", tail);
        verdict.advice =
            "Look for what holds the stream: a kernel that never ends, a host function.";
        break;
      case WaitStage::kCopyIn:
      case WaitStage::kCopyOut:
      case WaitStage::kGroupPart:
      case WaitStage::kCarrying:
        verdict.kind = "stuck_copy";
        verdict.sentence = cat(capital(name), "'s device does not get on with ",
                               wait_text(edge.wait), " in ", in, tail);
        verdict.advice =
            "Look at its device: nvidia-smi, the kernel's log (Xid); gdb for the process.";
        break;
      case WaitStage::kAdding:
      case WaitStage::kAddingPart:
        verdict.kind = "stuck_adder";
        verdict.sentence =
            cat(capital(name), " does not get on with ", wait_text(edge.wait), " in ", in, tail);
        verdict.advice = cat("See whether its threads get CPUs: top -H -p ", pid,
                             ", the cgroup's cpu.stat; and where they are: gdb -p ", pid, ".");
        break;
      case WaitStage::kPartialSum:
      case WaitStage::kFinalValue:
      case WaitStage::kTaking:
        verdict.kind = "stuck_link";
        verdict.culprits.push_back(edge.from->record.owner.rank);
        verdict.sentence =
            cat("Nothing passes between ", who(edge.from->record.owner.rank), " and ", name, ": ",
                wait_text(edge.wait), " is awaited in ", in, tail);
        verdict.advice =
            "Run hfreduce doctor net on both hosts; look at cables, switches and firewalls.";
        break;
      default:
        verdict.kind = "waiting";
        verdict.sentence =
            cat("All wait for ", name, " in the end: ", wait_text(edge.wait), ", in ", in, tail);
        verdict.advice = pid != 0 ? cat("See where it is: gdb -p ", pid, ".") : "";
        break;
    }
    if (blamed == nullptr) {
      verdict.sentence += " There is no record of it.";
      verdict.advice = cat("Bring the records of its host, too. ", verdict.advice);
    }
    return verdict;
  }

  Verdict tell_never_called(const Edge& edge, uint64_t least_ns) const {
    Verdict verdict;
    verdict.kind = "never_called";
    std::string pids;
    for (const RankState& rank : ranks_) {
      if (rank.record.called > edge.operation) continue;
      verdict.culprits.push_back(rank.record.owner.rank);
      if (rank.process != ProcessState::kDead) pids += cat(" ", rank.record.process.pid);
    }
    const RankState& blamed = *at(edge.to);
    const bool one = verdict.culprits.size() == 1;
    const uint64_t called = blamed.record.called;
    const bool meets = blamed.record.wait && blamed.record.wait->wait.stage == WaitStage::kMeeting;
    const std::string waits = for_which(least_ns, verdict.culprits);
    verdict.sentence = cat(
        capital(one ? who(edge.to) : list_ranks(verdict.culprits)), one ? " has" : " have",
        " not called operation ", operation(edge.operation), waits.empty() ? "" : ", in which ",
        waits, "; ", one ? "it" : cat("rank ", edge.to), " ",
        called == 0 ? "has called none yet" : cat("called #", called - 1, " last"),
        meets ? " and is in hfr_comm_finalize, hfr_comm_split, hfr_comm_grow or hfr_comm_suspend."
        : blamed.process == ProcessState::kDead ? ", and its process is gone."
                                                : " and is outside of the library.");
    verdict.advice = pids.empty()
                         ? "See in its output and in its program why it did not call."
                         : cat("See where it is: gdb -p or py-spy dump --pid, with", pids, ".");
    return verdict;
  }

  std::optional<Verdict> find_not_meeting() const {
    std::vector<int> meeting;
    std::vector<int> absent;
    uint64_t longest = 0;
    for (const RankState& rank : ranks_) {
      const auto ns = waited_ns(rank);
      if (ns && rank.record.wait->wait.stage == WaitStage::kMeeting) {
        meeting.push_back(rank.record.owner.rank);
        longest = std::max(longest, *ns);
      } else {
        absent.push_back(rank.record.owner.rank);
      }
    }
    if (longest < kLongNs || absent.empty()) return std::nullopt;
    Verdict verdict;
    verdict.kind = "not_meeting";
    verdict.culprits = absent;
    verdict.sentence =
        cat(capital(list_ranks(meeting)), meeting.size() == 1 ? " has" : " have", " waited for ",
            seconds_text(longest),
            " in hfr_comm_finalize, hfr_comm_split, hfr_comm_grow or hfr_comm_suspend; ",
            list_ranks(absent), absent.size() == 1 ? " has" : " have", " not come there.");
    verdict.advice =
        "All ranks must finalize, split, grow or suspend together: see where the others are (gdb "
        "-p).";
    return verdict;
  }

  const std::vector<RankState>& ranks_;
  std::map<int, const RankState*> by_rank_;
};

}  // namespace

Verdict judge(const std::vector<RankState>& ranks) { return Judge(ranks).judge(); }

bool is_dead(const RankState& rank) {
  return rank.process == ProcessState::kDead && rank.record.end == record::EndState::kOpen;
}

bool all_gone(const std::vector<RankState>& ranks) {
  return std::all_of(ranks.begin(), ranks.end(), is_dead);
}

std::optional<uint64_t> waited_ns(const RankState& rank) {
  const Record& record = rank.record;
  if (!record.wait) return std::nullopt;
  uint64_t until = record.wait->looked_ns;
  // It waits until now, or until it gave up; who has died waited until it looked last.
  if (record.failure) {
    until = std::max(until, record.failed_ns);
  } else if (rank.process != ProcessState::kDead) {
    until = std::max(until, rank.seen_ns);
  }
  return until - record.wait->since_ns;
}

std::vector<int> missing_ranks(const std::vector<RankState>& ranks) {
  const int num_ranks = ranks.front().record.owner.num_ranks;
  std::vector<bool> there(static_cast<size_t>(num_ranks), false);
  for (const RankState& rank : ranks) {
    const auto idx = static_cast<size_t>(rank.record.owner.rank);
    if (idx < there.size()) there[idx] = true;
  }
  std::vector<int> missing;
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (!there[static_cast<size_t>(rank)]) missing.push_back(rank);
  }
  return missing;
}

std::string seconds_text(uint64_t ns) { return format("%.1f s", static_cast<double>(ns) / 1e9); }

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

std::string describe(const RankState& rank) {
  const RecordOwner& owner = rank.record.owner;
  return cat("rank ", owner.rank, " (node ", owner.node, ", host ", rank.record.host, ", pid ",
             rank.record.process.pid, ")");
}

std::string list_ranks(const std::vector<int>& ranks) {
  if (ranks.size() == 1) return cat("rank ", ranks.front());
  const size_t shown = std::min(ranks.size(), kMostListed);
  std::string text = "ranks ";
  for (size_t i = 0; i < shown; ++i) {
    if (i > 0) text += i + 1 == ranks.size() ? " and " : ", ";
    text += cat(ranks[i]);
  }
  if (shown < ranks.size()) text += cat(" and ", ranks.size() - shown, " others");
  return text;
}

std::optional<uint64_t> signature_of(const Record& record, uint64_t number) {
  if (number < record.first_call || number - record.first_call >= record.calls.size())
    return std::nullopt;
  return record.calls[number - record.first_call];
}

std::string describe_operation(const std::vector<RankState>& ranks, uint64_t number) {
  for (const RankState& rank : ranks) {
    if (const auto signature = signature_of(rank.record, number))
      return cat("#", number, " (", signature_text(*signature), ")");
  }
  return cat("#", number);
}

}  // namespace hfr::tools
