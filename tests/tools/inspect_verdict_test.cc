// Verdicts over records that are made up: each kind, from each of the situations that lead to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "made_up_records.hpp"

namespace hfr_tests {
namespace {

using hfr::Code;
using hfr::ProcessState;
using hfr::Wait;
using hfr::WaitStage;
using hfr::tools::RankState;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Verdict, Healthy) {
  expect_verdict(make_ranks(4), "healthy", {}, "all ranks have completed 3 operations");
  expect_verdict(make_ranks(1), "healthy", {}, "all ranks have completed 3 operations");
  auto ranks = make_ranks(4);
  for (RankState& rank : ranks) {
    rank.record.called = rank.record.completed = 0;
    rank.record.calls.clear();
  }
  expect_verdict(ranks, "healthy", {}, "no operation has been called");
  // Pictures of ranks that go on are never of one moment.
  ranks = make_ranks(4);
  ranks[2].record.called = 40;
  ranks[2].record.completed = 39;
  ranks[2].record.calls.resize(40, call(20));
  wait_for(ranks[1], 2, WaitStage::kStarting, kSecond / 2);
  expect_verdict(ranks, "healthy", {}, "operation #3 is under way");
}

TEST(Verdict, ARankThatNeverCalled) {
  for (int absent = 0; absent < 4; ++absent) {
    auto ranks = make_ranks(4);
    for (int rank = 0; rank < 4; ++rank) {
      if (rank != absent) wait_for(ranks[static_cast<size_t>(rank)], absent, WaitStage::kStarting);
    }
    expect_verdict(ranks, "never_called", {absent},
                   "has not called operation #3 (all_reduce of 20 float32, sum), in which");
    EXPECT_THAT(judge(ranks).sentence, HasSubstr("have waited for 10.0 s; it called #2 last"));
    EXPECT_THAT(judge(ranks).advice, HasSubstr(std::to_string(100 + absent)));
  }
}

// Node by node: who waits for whom goes from rank to rank.
TEST(Verdict, AChainEndsAtTheRankThatNeverCalled) {
  auto ranks = make_ranks(6);
  wait_for(ranks[0], 2, WaitStage::kSum);
  wait_for(ranks[2], 1, WaitStage::kPartialSum);
  wait_for(ranks[4], 2, WaitStage::kSum);
  wait_for(ranks[1], 3, WaitStage::kStarting);
  wait_for(ranks[5], 3, WaitStage::kStarting);
  expect_verdict(ranks, "never_called", {3}, "Rank 3 (node 1, host beta, pid 103) has not called");
  EXPECT_THAT(judge(ranks).sentence, HasSubstr("ranks 0, 1, 2, 4 and 5 have waited"));
}

TEST(Verdict, SeveralThatNeverCalled) {
  auto ranks = make_ranks(4);
  wait_for(ranks[0], 1, WaitStage::kPartialSum);
  wait_for(ranks[2], 0, WaitStage::kSum);
  expect_verdict(ranks, "never_called", {1, 3}, "Ranks 1 and 3 have not called operation #3");
}

TEST(Verdict, ARankThatFinalizesInstead) {
  auto ranks = make_ranks(2);
  wait_for(ranks[0], 1, WaitStage::kStarting);
  ranks[1].record.wait =
      hfr::RecordedWait{3, kNow - kSecond, kNow, Wait{-1, WaitStage::kMeeting, 0, 0}};
  expect_verdict(ranks, "never_called", {1},
                 "is in hfr_comm_finalize, hfr_comm_split, hfr_comm_grow or hfr_comm_suspend");
}

TEST(Verdict, ARankThatDoesNotComeToAMeeting) {
  auto ranks = make_ranks(3);
  for (size_t rank : {0u, 1u}) {
    ranks[rank].record.wait =
        hfr::RecordedWait{3, kNow - 5 * kSecond, kNow, Wait{-1, WaitStage::kMeeting, 0, 0}};
  }
  expect_verdict(ranks, "not_meeting", {2}, "Ranks 0 and 1 have waited for 5.0 s");
  ranks[2].record.wait = ranks[1].record.wait;
  expect_verdict(ranks, "healthy", {}, "");
}

TEST(Verdict, AStageThatIsStuck) {
  const std::vector<std::pair<WaitStage, std::string>> cases = {
      {WaitStage::kCopyIn, "stuck_copy"},     {WaitStage::kCopyOut, "stuck_copy"},
      {WaitStage::kGroupPart, "stuck_copy"},  {WaitStage::kCarrying, "stuck_copy"},
      {WaitStage::kAdding, "stuck_adder"},    {WaitStage::kAddingPart, "stuck_adder"},
      {WaitStage::kPartialSum, "stuck_link"}, {WaitStage::kFinalValue, "stuck_link"},
      {WaitStage::kTaking, "stuck_link"},     {WaitStage::kSum, "waiting"},
      {WaitStage::kStarting, "waiting"}};
  for (const auto& [stage, kind] : cases) {
    auto ranks = make_ranks(3);
    wait_for(ranks[0], 2, stage);
    wait_for(ranks[1], 0, WaitStage::kSum);
    for (RankState& rank : ranks) {
      rank.record.called = 4;
      rank.record.calls.resize(4, call(20));
    }
    std::vector<int> culprits = {2};
    if (kind == "stuck_link") culprits.push_back(0);
    expect_verdict(ranks, kind, culprits, "operation #3 (all_reduce of 20 float32, sum)");
    EXPECT_THAT(judge(ranks).sentence, HasSubstr("ank 2 (node 0"));
  }
}

TEST(Verdict, AStreamThatDoesNotCome) {
  auto ranks = make_ranks(2);
  wait_for(ranks[0], 1, WaitStage::kStarting);
  wait_for(ranks[1], 1, WaitStage::kStream);
  expect_verdict(ranks, "stuck_stream", {1}, "Rank 1 (node 1, host beta, pid 101) has called");
}

// The copy is what holds the circle up, wherever it is entered.
TEST(Verdict, ACircleIsBrokenWhereARankWaitsForAnothersOwnAct) {
  for (int shift = 0; shift < 3; ++shift) {
    auto ranks = make_ranks(3);
    auto at = [&](int idx) { return (idx + shift) % 3; };
    auto state = [&](int idx) -> RankState& { return ranks[static_cast<size_t>(at(idx))]; };
    wait_for(state(0), at(1), WaitStage::kSum);
    wait_for(state(1), at(2), WaitStage::kCopyIn);
    wait_for(state(2), at(0), WaitStage::kSum);
    expect_verdict(ranks, "stuck_copy", {at(2)}, "copy-in of chunk 3 of 8");
  }
}

TEST(Verdict, ARankWithoutARecord) {
  auto ranks = make_ranks(3);
  ranks.pop_back();
  wait_for(ranks[0], 2, WaitStage::kStarting);
  wait_for(ranks[1], 2, WaitStage::kStarting);
  expect_verdict(ranks, "waiting", {2}, "There is no record of it.");
  EXPECT_THAT(judge(ranks).advice, HasSubstr("Bring the records of its host"));
  EXPECT_THAT(missing_ranks(ranks), ElementsAre(2));
}

TEST(Verdict, ADeadPeer) {
  auto ranks = make_ranks(4);
  ranks[2].process = ProcessState::kDead;
  expect_verdict(ranks, "dead", {2},
                 "Rank 2 (node 0, host alpha, pid 102), which ended after operation #2 (all_reduce "
                 "of 10 float32, sum), is dead.");
  wait_for(ranks[2], 3, WaitStage::kSum, 0);
  wait_for(ranks[0], 2, WaitStage::kStarting);
  expect_verdict(ranks, "dead", {2}, "which ended in operation #3");
  EXPECT_THAT(judge(ranks).sentence, HasSubstr("rank 0 has waited for 10.0 s"));
  ranks[3].process = ProcessState::kDead;
  expect_verdict(ranks, "dead", {2, 3}, "Ranks 2 and 3 are dead");
}

// After the job: all processes are gone, and what they said is what is left.
TEST(Verdict, AfterAFailureWhoDiedIsToldFromWhoLeft) {
  auto ranks = make_ranks(3);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  fail(ranks[0], Code::kRemoteError, 1, "rank 1 died: its control connection closed");
  fail(ranks[2], Code::kRemoteError, 1, "rank 1 died: its control connection closed");
  expect_verdict(ranks, "dead", {1}, "rank 0 said: rank 1 died");
  // Without its record, and where its process cannot be seen.
  ranks[1].process = ProcessState::kUnknown;
  expect_verdict(ranks, "dead", {1}, "rank 1 died");
  ranks.erase(ranks.begin() + 1);
  expect_verdict(ranks, "dead", {1}, "Rank 1, of which there is no record, is dead");
}

// Both ends of a cut link took each other for dead.
TEST(Verdict, WhoFailedItselfIsNotDead) {
  auto ranks = make_ranks(2);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  fail(ranks[0], Code::kRemoteError, 1, "rank 0 lost rank 1");
  fail(ranks[1], Code::kRemoteError, 0, "rank 1 lost rank 0");
  expect_verdict(ranks, "failed", {1}, "rank 0 lost rank 1");
}

TEST(Verdict, ATimeoutIsTracedByItsWaits) {
  auto ranks = make_ranks(3);
  wait_for(ranks[0], 2, WaitStage::kStarting, kSecond / 10);
  wait_for(ranks[1], 2, WaitStage::kStarting, kSecond / 10);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  fail(ranks[0], Code::kTimeout, 2, "rank 0 waited 100 ms for rank 2");
  fail(ranks[1], Code::kTimeout, 2, "rank 0 waited 100 ms for rank 2");
  expect_verdict(ranks, "never_called", {2}, "Rank 2 (node 0, host alpha, pid 102) has not called");
  EXPECT_THAT(judge(ranks).sentence, HasSubstr("and its process is gone."));
  EXPECT_THAT(judge(ranks).advice, Not(HasSubstr("gdb")));
  // No waits: the sentence is all there is.
  ranks[0].record.wait.reset();
  ranks[1].record.wait.reset();
  expect_verdict(ranks, "failed", {2}, "waited 100 ms");
}

TEST(Verdict, AnAbort) {
  auto ranks = make_ranks(2);
  fail(ranks[0], Code::kAborted, 1, "rank 1 called hfr_comm_abort");
  fail(ranks[1], Code::kAborted, 1, "rank 1 called hfr_comm_abort");
  expect_verdict(ranks, "failed", {1}, "rank 1 called hfr_comm_abort");
}

TEST(Verdict, TheCauseThatMostRanksTell) {
  auto ranks = make_ranks(3);
  fail(ranks[0], Code::kRemoteError, 2, "odd");
  fail(ranks[1], Code::kAborted, 1, "even");
  fail(ranks[2], Code::kAborted, 1, "even");
  expect_verdict(ranks, "failed", {1}, "rank 1 said: even");
}

TEST(Verdict, AStoppedPeer) {
  auto ranks = make_ranks(3);
  ranks[1].process = ProcessState::kStopped;
  wait_for(ranks[0], 1, WaitStage::kStarting, kSecond / 10);
  wait_for(ranks[2], 1, WaitStage::kStarting, kSecond / 10);
  expect_verdict(ranks, "stopped", {1}, "Rank 1 (node 1, host beta, pid 101) is stopped");
  EXPECT_THAT(judge(ranks).sentence, HasSubstr("ranks 0 and 2 have waited for 0.1 s"));
  EXPECT_THAT(judge(ranks).advice, HasSubstr("kill -CONT 101"));
  // Also when the others have given up meanwhile.
  fail(ranks[0], Code::kTimeout, 1, "rank 0 waited");
  expect_verdict(ranks, "stopped", {1}, "is stopped");
}

TEST(Verdict, AJobThatWasEndedFromOutside) {
  auto ranks = make_ranks(3);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  expect_verdict(ranks, "healthy", {}, "all ranks have completed 3 operations");
  wait_for(ranks[1], 0, WaitStage::kStarting, kSecond / 10);
  expect_verdict(ranks, "dead", {1}, "All processes are gone");
  // It hung before.
  wait_for(ranks[1], 0, WaitStage::kStarting);
  wait_for(ranks[2], 0, WaitStage::kStarting);
  expect_verdict(ranks, "never_called", {0}, "have waited for 10.0 s");
}

// Ranks before their first operation, all at this stage of set-up for 10 s.
std::vector<RankState> ranks_in_set_up(int num_ranks, WaitStage stage) {
  auto ranks = make_ranks(num_ranks);
  for (RankState& rank : ranks) {
    rank.record.called = rank.record.completed = 0;
    rank.record.calls.clear();
    rank.record.wait = hfr::RecordedWait{0, kNow - 10 * kSecond, kNow - 10 * kSecond, {-1, stage}};
  }
  return ranks;
}

TEST(Verdict, InSetUpWhoIsFurthestBehind) {
  auto ranks = ranks_in_set_up(4, WaitStage::kFindings);
  ranks[1].record.wait->wait.stage = WaitStage::kOpenDevice;
  expect_verdict(ranks, "set_up", {1},
                 "Rank 1 (node 1, host beta, pid 101) has been for 10.0 s in set-up: its device to "
                 "open; ranks 0, 2 and 3 are further on.");
  EXPECT_THAT(judge(ranks).advice, HasSubstr("nvidia-smi"));
  // One is through, and waits for it in an operation.
  ranks[3].record.wait.reset();
  wait_for(ranks[3], 1, WaitStage::kStarting);
  expect_verdict(ranks, "set_up", {1}, "ranks 0, 2 and 3 are further on.");
  ranks = ranks_in_set_up(3, WaitStage::kConnect);
  expect_verdict(ranks, "set_up", {0, 1, 2},
                 "Ranks 0, 1 and 2 have been for 10.0 s in set-up: connections to other nodes.");
  ranks.erase(ranks.begin() + 1);
  expect_verdict(ranks, "set_up", {0, 2}, "There is no record of rank 1: set-up failed there");
}

TEST(Verdict, AShortSetUpIsHealthyAndOneThatEndedIsTold) {
  auto ranks = ranks_in_set_up(2, WaitStage::kNodeMemory);
  for (RankState& rank : ranks) rank.seen_ns = kNow - 10 * kSecond + kSecond / 2;
  expect_verdict(ranks, "healthy", {}, "no operation has been called");
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  expect_verdict(ranks, "set_up", {0, 1},
                 "Ranks 0 and 1 ended in set-up: the node's shared memory.");
  ranks[0].process = ProcessState::kRunning;
  expect_verdict(ranks, "dead", {1}, "is dead.");
}

// What the rendezvous, on `host`, saw: ranks, and how long after the first.
void see_ends(RankState& host, const std::vector<std::pair<int, uint64_t>>& ends) {
  host.record.hosts_rendezvous = true;
  for (const auto& [rank, after_ns] : ends) host.record.ends.push_back({rank, kNow + after_ns});
}

// A launcher ended all before anybody could say who died.
TEST(Verdict, WhoEndedFirstIsToldWhenAllAreGone) {
  auto ranks = make_ranks(4);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  for (size_t rank : {0u, 1u, 3u}) wait_for(ranks[rank], 2, WaitStage::kStarting, kSecond / 100);
  see_ends(ranks[0], {{2, 0}, {3, 912'000}, {1, 950'000}});
  expect_verdict(ranks, "dead", {2},
                 "Rank 2 (node 0, host alpha, pid 102), which ended after operation #2 (all_reduce "
                 "of 10 float32, sum), is dead; so are all others, and rank 0, which hosts the "
                 "rendezvous, saw rank 2 end first, 912 us before rank 3.");
  // What was seen at one look has no order.
  ranks[0].record.ends.clear();
  see_ends(ranks[0], {{3, 0}, {2, 0}, {1, 2'000'000}});
  expect_verdict(ranks, "dead", {2, 3}, "saw ranks 2 and 3 end first, 2.0 ms before rank 1.");
  ranks[0].record.ends.resize(1);
  expect_verdict(ranks, "dead", {3}, "end first, and nobody else before it was gone itself.");
  // One whose record is not here.
  ranks.pop_back();
  expect_verdict(ranks, "dead", {3}, "Rank 3, of which there is no record, is dead");
}

TEST(Verdict, WhenTheRendezvousSawNobodyEndThatIsSaid) {
  auto ranks = make_ranks(3);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  wait_for(ranks[2], 1, WaitStage::kStarting, kSecond / 100);
  expect_verdict(ranks, "dead", {2}, "No record here is of the rank that hosts the rendezvous");
  see_ends(ranks[0], {});
  expect_verdict(ranks, "dead", {2},
                 "Rank 0, which hosts the rendezvous, saw nobody end: it was the first itself, or "
                 "all ended at once. Who waited then waited for rank 1 in the end: starting it.");
}

// A hang that somebody ended: why it hung comes first.
TEST(Verdict, WhoEndedFirstIsToldBesideAHang) {
  auto ranks = make_ranks(3);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  for (size_t rank : {0u, 2u}) wait_for(ranks[rank], 1, WaitStage::kStarting);
  see_ends(ranks[0], {{2, 0}, {1, 30'000}});
  expect_verdict(ranks, "never_called", {1}, "saw rank 2 end first, 30 us before rank 1.");
  // Nor does an order make a job that ended well a bad one.
  ranks = make_ranks(2);
  for (RankState& rank : ranks) rank.process = ProcessState::kDead;
  see_ends(ranks[0], {{1, 0}});
  expect_verdict(ranks, "healthy", {}, "all ranks have completed 3 operations");
}

}  // namespace
}  // namespace hfr_tests
