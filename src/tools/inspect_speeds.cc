// Where nobody is stuck: whose copies, adds or puts take so much longer than the others' that they
// hold the job up.
#include <algorithm>
#include <map>

#include "tools/inspect_verdict.hpp"
#include "tools/print_format.hpp"

namespace hfr::tools {
namespace {

using record::SpanStage;

// Fewer spans say nothing, and less time is no trouble.
constexpr uint64_t kLeastSpans = 4;
constexpr uint64_t kLeastNs = 1'000'000;
// How many times slower than the others, and how much of its own time.
constexpr double kSlowFactor = 3;
constexpr double kLeastShare = 0.25;

// One that can be slow: a rank's copies, its adds, its puts to another rank.
struct Subject {
  const RankState* rank = nullptr;
  int peer = -1;  // of puts
  uint64_t num_spans = 0;
  uint64_t bytes = 0;
  uint64_t ns = 0;
  uint64_t first_ns = UINT64_MAX;  // of all the rank's spans
  uint64_t last_ns = 0;

  double rate() const { return static_cast<double>(bytes) / static_cast<double>(ns); }  // GB/s
  double share() const {
    return std::min(1.0, static_cast<double>(ns) / static_cast<double>(last_ns - first_ns));
  }
  bool counts() const { return num_spans >= kLeastSpans && ns > 0; }
};

enum class Part { kCopy, kAdd, kLink, kNone };

Part part_of(SpanStage stage) {
  switch (stage) {
    case SpanStage::kCopyIn:
    case SpanStage::kCopyOut:
    case SpanStage::kPush:
    case SpanStage::kPull:
      return Part::kCopy;
    case SpanStage::kAdd:
      return Part::kAdd;
    case SpanStage::kPut:
      return Part::kLink;
    default:
      return Part::kNone;
  }
}

std::vector<Subject> subjects(const std::vector<RankState>& ranks, Part part) {
  std::vector<Subject> result;
  for (const RankState& rank : ranks) {
    std::map<int, Subject> by_peer;
    uint64_t first_ns = UINT64_MAX;
    uint64_t last_ns = 0;
    for (const RecordedSpan& span : rank.record.spans) {
      first_ns = std::min(first_ns, span.begin_ns);
      last_ns = std::max(last_ns, span.end_ns);
      if (part_of(span.stage) != part) continue;
      Subject& subject = by_peer[part == Part::kLink ? span.rank : -1];
      ++subject.num_spans;
      subject.bytes += span.bytes;
      subject.ns += span.end_ns - span.begin_ns;
    }
    for (auto& [peer, subject] : by_peer) {
      if (!subject.counts()) continue;
      subject.rank = &rank;
      subject.peer = peer;
      subject.first_ns = first_ns;
      subject.last_ns = last_ns;
      result.push_back(subject);
    }
  }
  return result;
}

double median_of_others(const std::vector<Subject>& all, const Subject& one) {
  std::vector<double> rates;
  for (const Subject& other : all) {
    if (&other != &one) rates.push_back(other.rate());
  }
  if (rates.empty()) return 0;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

struct Found {
  double factor = kSlowFactor;
  double others = 0;
  Part part = Part::kNone;
  Subject subject;
};

std::string place_of(const std::vector<RankState>& ranks, int rank) {
  for (const RankState& state : ranks) {
    if (state.record.owner.rank == rank) return describe(state);
  }
  return cat("rank ", rank);
}

Verdict tell(const Found& found, const std::vector<RankState>& ranks) {
  const Subject& slow = found.subject;
  const int pid = slow.rank->record.process.pid;
  const std::string who = describe(*slow.rank);
  const std::string speed =
      format("%.3g GB/s, a %.0fth of the others' %.3g GB/s, and that takes %.0f %% of its time.",
             slow.rate(), found.factor, found.others, slow.share() * 100);
  Verdict verdict;
  verdict.culprits = {slow.rank->record.owner.rank};
  switch (found.part) {
    case Part::kCopy:
      verdict.kind = "slow_copy";
      verdict.sentence = cat("Device copies are slow on ", who, ": ", speed);
      verdict.advice =
          "Look at its device's link: nvidia-smi -q -d PCIE, and whether other devices or "
          "processes "
          "share it.";
      break;
    case Part::kAdd:
      verdict.kind = "slow_adder";
      verdict.sentence = cat("Adding is slow on ", who, ": ", speed);
      verdict.advice = cat("See who takes its CPUs and memory: top -H -p ", pid,
                           ", the cgroup's cpu.stat, numastat -p ", pid, ".");
      break;
    default:
      verdict.kind = "slow_link";
      verdict.culprits.push_back(slow.peer);
      verdict.sentence =
          cat("The link from ", who, " to ", place_of(ranks, slow.peer), " is slow: ", speed);
      verdict.advice = "Run hfreduce doctor net on both hosts; look at cables and switch counters.";
      break;
  }
  return verdict;
}

}  // namespace

std::optional<Verdict> find_slow(const std::vector<RankState>& ranks) {
  Found worst;
  for (Part part : {Part::kCopy, Part::kAdd, Part::kLink}) {
    const std::vector<Subject> all = subjects(ranks, part);
    for (const Subject& subject : all) {
      const double others = median_of_others(all, subject);
      const double factor = others / std::max(subject.rate(), 1e-9);
      if (factor > worst.factor && subject.ns >= kLeastNs && subject.share() >= kLeastShare)
        worst = {factor, others, part, subject};
    }
  }
  if (worst.part == Part::kNone) return std::nullopt;
  return tell(worst, ranks);
}

}  // namespace hfr::tools
