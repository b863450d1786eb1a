// Faults at a thousand nodes: every promise on deadlines and errors (docs/architecture.md), checked
// on the shipped engine in virtual time.
#include <gtest/gtest.h>

#include <random>

#include "clusters.hpp"
#include "cpu/reduce.hpp"
#include "payloads.hpp"
#include "reduce/inline_pool.hpp"

namespace hfr_tests {
namespace {

using namespace hfr::sim;
using How = Ending::How;

constexpr SimTime kMs = 1000 * kPsPerUs;
constexpr SimTime kTimeout = 2000 * kMs;
// From a deadline to the end of all: a look around, the collecting of stalls, the verdict to all,
// and the wait of those whom none reaches.
constexpr SimTime kVerdict = 1000 * kMs;

struct Outcome {
  std::vector<Ending> endings;
  SimTime duration = 0;
  uint64_t events = 0;
  bool operator==(const Outcome&) const = default;
};

class Job {
 public:
  Job(const ClusterSpec& cluster, int num_nodes, const hfr::Config& config = small_chunks(),
      std::vector<size_t> counts = {64, 3000, 600})
      : adds_(**hfr::select_kernel_table("")),
        spec_(world_spec(cluster, num_nodes, config)),
        counts_(std::move(counts)) {
    spec_.limits.timeout_ns = kTimeout / kPsPerNs;
    spec_.adds = &adds_;
  }
  static hfr::Config small_chunks() {
    hfr::Config config;
    config.chunk_bytes = 4096;
    config.window = 4;
    return config;
  }
  int num_ranks() const { return spec_.num_nodes * spec_.cluster.node.num_ranks(); }
  int node_of(int rank) const { return rank / spec_.cluster.node.num_ranks(); }

  // Nobody hangs, and what a rank completed is right.
  Outcome run(const std::vector<Fault>& faults) {
    spec_.faults = faults;
    auto world = World::create(spec_);
    EXPECT_TRUE(world.ok()) << world.status().message();
    Payloads payloads((*world)->num_ranks(), counts_);
    const hfr::Status status = (*world)->run(
        counts_.size(), [&](int rank, size_t op) { return payloads.descriptor(rank, op); });
    EXPECT_TRUE(status.ok()) << status.message();
    Outcome outcome{(*world)->endings(), (*world)->duration(), (*world)->num_events()};
    for (size_t rank = 0; rank < outcome.endings.size(); ++rank) {
      EXPECT_NE(outcome.endings[rank].how, How::kRunning) << rank;
      for (size_t op = 0; op < outcome.endings[rank].completed; ++op)
        EXPECT_TRUE(payloads.is_right(rank, op)) << "rank " << rank << ", operation " << op;
    }
    return outcome;
  }

 private:
  hfr::InlinePool adds_;
  WorldSpec spec_;
  const std::vector<size_t> counts_;
};

size_t count(const Outcome& outcome, How how) {
  size_t num = 0;
  for (const Ending& ending : outcome.endings) num += ending.how == how ? 1 : 0;
  return num;
}

SimTime last_end(const Outcome& outcome) {
  SimTime last = 0;
  for (const Ending& ending : outcome.endings) last = std::max(last, ending.at);
  return last;
}

// All that live have ended in time, and who failed says why and whose fault it is: that of a rank
// at either end of what broke.
void check_promises(const Job& job, const Outcome& outcome, const Fault& fault) {
  SCOPED_TRACE(fault_text(fault));
  const int node = hits_rank(fault.kind) ? job.node_of(fault.where) : fault.where;
  const std::string at_node = "(node " + std::to_string(node) + ")";
  EXPECT_LE(last_end(outcome), fault.at + kTimeout + kVerdict);
  for (size_t rank = 0; rank < outcome.endings.size(); ++rank) {
    const Ending& ending = outcome.endings[rank];
    if (ending.how != How::kFailed) continue;
    const std::string& sentence = ending.failure.status.message();
    SCOPED_TRACE(sentence);
    EXPECT_FALSE(ending.failure.status.ok());
    const int blamed = ending.failure.rank;
    ASSERT_GE(blamed, 0);
    EXPECT_NE(sentence.find("rank " + std::to_string(blamed)), std::string::npos);
    // Whoever is cut off sees only that others are silent.
    const bool cut_off =
        fault.kind == FaultKind::kIsolate && job.node_of(static_cast<int>(rank)) == node;
    if (cut_off || job.node_of(blamed) == node) continue;
    EXPECT_EQ(fault.kind, FaultKind::kCut) << "blames a rank that was there";
    ASSERT_NE(sentence.find("(node"), std::string::npos);
    EXPECT_EQ(sentence.find(at_node), sentence.find("(node")) << "says who is not at the cut";
  }
}

Fault random_fault(FaultKind kind, const Job& job, SimTime span, std::mt19937_64& random) {
  Fault fault;
  fault.kind = kind;
  const int nodes = job.node_of(job.num_ranks() - 1) + 1;
  fault.where = static_cast<int>(random() % (hits_rank(kind) ? job.num_ranks() : nodes));
  fault.at = random() % span;
  return fault;
}

std::string name_of(const testing::TestParamInfo<FaultKind>& info) {
  return fault_name(info.param);
}
constexpr FaultKind kLasting[] = {FaultKind::kKill, FaultKind::kStop, FaultKind::kLose,
                                  FaultKind::kCut, FaultKind::kIsolate};

class LastingFault : public testing::TestWithParam<FaultKind> {};

TEST_P(LastingFault, EndsAThousandNodesInTime) {
  Job job(gpu_cluster(1), 1000);
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()) + 1);
  const Fault fault = random_fault(GetParam(), job, 100 * kPsPerUs, random);
  const Outcome outcome = job.run({fault});
  check_promises(job, outcome, fault);
  EXPECT_GE(count(outcome, How::kFailed), 990u);
}

// Fewer nodes with several ranks, on GPUs and in host memory, at many places and moments.
TEST_P(LastingFault, IsNamedWhereverItHappens) {
  for (bool on_host : {false, true}) {
    hfr::Config config = Job::small_chunks();
    config.forest = on_host ? "ring" : "tree";
    Job job(on_host ? host_cluster(2) : gpu_cluster(3), 13, config);
    const Outcome clean = job.run({});
    EXPECT_EQ(count(clean, How::kDone), clean.endings.size());
    std::mt19937_64 random(7);
    int num_felt = 0;  // a fault near the end may come too late for anybody
    for (int i = 0; i < 15; ++i) {
      const Fault fault = random_fault(GetParam(), job, clean.duration, random);
      const Outcome outcome = job.run({fault});
      check_promises(job, outcome, fault);
      if (count(outcome, How::kFailed) > 0) ++num_felt;
    }
    EXPECT_GE(num_felt, 8) << (on_host ? "host" : "gpu");
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, LastingFault, testing::ValuesIn(kLasting), name_of);

TEST(Faults, SameFaultSameOutcomeToTheBit) {
  Job job(gpu_cluster(1), 1000);
  const std::vector<Fault> faults = {{FaultKind::kCut, 431, 20 * kPsPerUs, 30 * kMs},
                                     {FaultKind::kKill, 8, 40 * kMs}};
  EXPECT_EQ(job.run(faults), job.run(faults));
}

// Verbs say so at half the deadline, and then nobody waits for the other half: whichever child or
// parent it is, and whatever else the rank waits for.
TEST(Faults, ALostPeerIsNotWaitedForUntilTheDeadline) {
  Job job(gpu_cluster(1), 16);
  const SimTime span = job.run({}).duration;
  for (int node = 0; node < 16; ++node) {
    const Fault fault{FaultKind::kCut, node, span / 3};
    const Outcome outcome = job.run({fault});
    check_promises(job, outcome, fault);
    EXPECT_LT(last_end(outcome), kTimeout / 2 + 400 * kMs) << node;
  }
}

// Who lost a peer reports it and asks what the job's first failure is: all name the same one.
TEST(Faults, AllWhoLosePeersNameTheFirstFailure) {
  Job job(gpu_cluster(1), 16);
  const SimTime span = job.run({}).duration;
  for (int node = 0; node < 16; ++node) {
    SCOPED_TRACE(node);
    const Outcome outcome = job.run({{FaultKind::kCut, node, span / 3}});
    EXPECT_GE(count(outcome, How::kFailed), 2u);
    int blamed = -1;
    for (const Ending& ending : outcome.endings) {
      if (ending.how != How::kFailed) continue;
      if (blamed < 0) blamed = ending.failure.rank;
      EXPECT_EQ(ending.failure.rank, blamed) << ending.failure.status.message();
    }
  }
}

// A node whose loss takes the rendezvous with it is named too: not those who failed because of it.
TEST(Faults, TheRendezvousNodeIsNamed) {
  for (bool on_host : {false, true}) {
    hfr::Config config = Job::small_chunks();
    config.forest = on_host ? "ring" : "tree";
    Job job(on_host ? host_cluster(2) : gpu_cluster(3), 13, config);
    const SimTime span = job.run({}).duration;
    for (FaultKind kind : {FaultKind::kLose, FaultKind::kIsolate, FaultKind::kCut}) {
      const Fault fault{kind, 0, span / 3};
      const Outcome outcome = job.run({fault});
      check_promises(job, outcome, fault);
      EXPECT_GE(count(outcome, How::kFailed), static_cast<size_t>(job.num_ranks() * 12 / 13))
          << fault_name(kind) << (on_host ? ", host" : ", gpu");
    }
  }
}

// Whoever shares a node with the rendezvous reaches it when that node is isolated.
TEST(Faults, TheRendezvousOwnNodeStillHearsIt) {
  Job job(gpu_cluster(3), 6);
  const SimTime span = job.run({}).duration;
  const Outcome outcome = job.run({{FaultKind::kIsolate, 0, span / 3}});
  for (size_t rank = 0; rank < outcome.endings.size(); ++rank) {
    ASSERT_EQ(outcome.endings[rank].how, How::kFailed) << rank;
    const std::string& sentence = outcome.endings[rank].failure.status.message();
    const bool unheard = sentence.find("does not answer") != std::string::npos ||
                         outcome.endings[rank].failure.rank < 0;
    if (job.node_of(static_cast<int>(rank)) == 0) {
      EXPECT_FALSE(unheard) << sentence;
    }
  }
  for (size_t mate : {1u, 2u}) {
    EXPECT_EQ(outcome.endings[mate].failure.rank, outcome.endings[0].failure.rank) << mate;
  }
}

// The others have failed meanwhile: it must not go on as if nothing had happened.
TEST(Faults, ARankThatStoodStillPastItsDeadlineEndsInTime) {
  Job job(gpu_cluster(2), 2, Job::small_chunks(), std::vector<size_t>(12, 600));
  const SimTime span = job.run({}).duration;
  for (int part = 1; part < 40; ++part) {
    const Fault fault{FaultKind::kStop, 3, span * static_cast<SimTime>(part) / 40, 4000 * kMs};
    const Outcome outcome = job.run({fault});
    SCOPED_TRACE(fault_text(fault));
    EXPECT_NE(outcome.endings[3].how, How::kRunning);
    EXPECT_LE(outcome.endings[3].at, 4000 * kMs + kVerdict);
  }
}

// Small sums on one node are made by the rank's own thread, which a fault slows and stops.
TEST(Faults, SmallSumsInHostMemoryKeepThePaceOfTheirRank) {
  ClusterSpec cluster = host_cluster(2);
  cluster.node.host.rates.add = 1e6;  // 2 x 512 bytes in 1024 us
  Job job(cluster, 1, hfr::Config(), {64});
  const SimTime clean = job.run({}).duration;
  EXPECT_GE(clean, 1024 * kPsPerUs);
  EXPECT_GE(job.run({{FaultKind::kSlow, 1, 0, kNever, 10}}).duration, 10 * 1024 * kPsPerUs);
  // Half of it at a tenth of the pace.
  const SimTime half = clean / 2;
  const SimTime late = job.run({{FaultKind::kSlow, 1, half, kNever, 10}}).duration;
  EXPECT_NEAR(seconds(late), seconds(half + 10 * half), seconds(clean) / 10);
  const SimTime stop = 3 * kMs;
  const Fault fault{FaultKind::kStop, 1, clean / 2, clean / 2 + stop};
  EXPECT_GE(job.run({fault}).duration, clean + stop);
}

// What ends before the deadline costs time, and nothing else.
TEST(Faults, WhatIsMendedInTimeIsOnlyLate) {
  Job job(gpu_cluster(1), 1000);
  const Outcome clean = job.run({});
  const SimTime begin = clean.duration / 3;
  const SimTime until = begin + 50 * kMs;
  const Outcome outcome = job.run({{FaultKind::kCut, 500, begin, until},
                                   {FaultKind::kCut, 0, begin, until},
                                   {FaultKind::kCut, 0, begin, until - 1 * kMs},
                                   {FaultKind::kIsolate, 77, begin, until},
                                   {FaultKind::kStop, 0, begin, until},
                                   {FaultKind::kStop, 999, begin, until},
                                   {FaultKind::kSlow, 3, 0, kNever, 100}});
  EXPECT_EQ(count(outcome, How::kDone), 1000u);
  EXPECT_GT(outcome.duration, until);
  EXPECT_LT(outcome.duration, until + 2 * clean.duration);
}

TEST(Faults, ASlowRankHoldsUpAll) {
  Job job(gpu_cluster(1), 8);
  const SimTime clean = job.run({}).duration;
  const SimTime slow = job.run({{FaultKind::kSlow, 5, 0, kNever, 1000}}).duration;
  const SimTime for_a_while = job.run({{FaultKind::kSlow, 5, 0, clean, 1000}}).duration;
  EXPECT_GT(slow, 3 * clean);
  EXPECT_GT(for_a_while, clean);
  EXPECT_LT(for_a_while, slow);
}

TEST(Faults, WhatCannotBeIsRefused) {
  const std::pair<Fault, const char*> cases[] = {
      {{FaultKind::kKill, 8}, "only 8 ranks"},
      {{FaultKind::kCut, 4}, "only 4 nodes"},
      {{FaultKind::kLose, 1, 0, kMs}, "has no end"},
      {{FaultKind::kCut, 1, kMs, kMs}, "ends before it begins"},
      {{FaultKind::kSlow, 1, 0, kNever, 0.5}, "at least 1"},
  };
  for (const auto& [fault, sentence] : cases) {
    const hfr::Status status = check_faults(std::span(&fault, 1), 4, 8);
    EXPECT_EQ(status.code(), hfr::Code::kInvalidArgument);
    EXPECT_NE(status.message().find(sentence), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace hfr_tests
