// Verdicts over records that are made up: calls that differ, and parts that are slower than others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "made_up_records.hpp"

namespace hfr_tests {
namespace {

using hfr::Code;
using hfr::DType;
using hfr::Op;
using hfr::record::SpanStage;
using hfr::tools::RankState;
using testing::HasSubstr;

// ---- mismatches ---------------------------------------------------------------------------------

struct MismatchCase {
  std::vector<uint64_t> others;  // what ranks 0 and 2 call from #3 on
  std::vector<uint64_t> odd;     // what rank 1 does
  std::string reason;
};

TEST(Verdict, Mismatches) {
  const uint64_t a = call(100);
  const uint64_t b = call(200);
  const uint64_t third = call(300);
  const std::vector<MismatchCase> cases = {
      {{a}, {b}, "the sizes differ"},
      {{a, third}, {b, third}, "the sizes differ"},
      {{a}, {call(100, DType::kFloat64)}, "the types differ"},
      {{a}, {call(100, DType::kFloat32, Op::kMax)}, "the operations differ"},
      {{a}, {hfr::make_signature(100, DType::kFloat32, Op::kSum, true)}, "one is in a graph"},
      {{a, b}, {b, a}, "the order is another"},
      {{a, b, third}, {b, third}, ": rank 1 left a call out before it"},
      {{a, b}, {b}, "the order is another, or rank 1 left a call out before it"},
      {{b}, {a, b}, "the order is another, or rank 1 made a call more before it"},
      {{b, third}, {a, b, third}, ": rank 1 made a call more before it"},
  };
  for (const MismatchCase& c : cases) {
    auto ranks = make_ranks(3);
    for (RankState& rank : ranks) {
      const auto& calls = rank.record.owner.rank == 1 ? c.odd : c.others;
      rank.record.calls.insert(rank.record.calls.end(), calls.begin(), calls.end());
      rank.record.called += calls.size();
    }
    expect_verdict(ranks, "mismatch", {1}, c.reason);
    EXPECT_THAT(judge(ranks).sentence, HasSubstr("Operation #3 is not the same"));
    EXPECT_THAT(judge(ranks).sentence, HasSubstr("rank 1 called all_reduce of"));
    // Whatever else is said.
    fail(ranks[0], Code::kTimeout, 2, "rank 0 waited");
    expect_verdict(ranks, "mismatch", {1}, c.reason);
  }
}

TEST(Verdict, AMismatchThatIsNoLongerInTheRecordsIsTheirSentence) {
  auto ranks = make_ranks(2);
  fail(ranks[0], Code::kMismatch, 1, "operation #3: rank 0 started an X; rank 1 started an Y");
  expect_verdict(ranks, "mismatch", {1}, "rank 1 started an Y");
}

// Records that overlap nowhere, and ranks that are far apart.
TEST(Verdict, CallsOfDifferentTimesAreNotCompared) {
  auto ranks = make_ranks(2);
  ranks[1].record.called = ranks[1].record.completed = 1'000'000'000'000;
  ranks[1].record.first_call = ranks[1].record.called - 2;
  ranks[1].record.calls = {call(1), call(2)};
  expect_verdict(ranks, "healthy", {}, "under way");
}

// ---- speeds -------------------------------------------------------------------------------------

// `num` spans of a stage, one after the other, of 1 MiB.
void add_spans(RankState& rank, SpanStage stage, int peer, int num, uint64_t each_ns) {
  auto& spans = rank.record.spans;
  uint64_t at = spans.empty() ? kSecond : spans.back().end_ns;
  for (int i = 0; i < num; ++i) {
    spans.push_back({stage, peer, 0, static_cast<uint64_t>(i), 1 << 20, at, at + each_ns});
    at += each_ns;
  }
}

// Every rank adds, copies and puts to the next one at usual speed, but for one stage of one rank.
std::vector<RankState> with_speeds(SpanStage slow_stage, int slow_rank, uint64_t slow_ns) {
  auto ranks = make_ranks(4);
  for (RankState& state : ranks) {
    const int rank = state.record.owner.rank;
    for (SpanStage stage :
         {SpanStage::kCopyIn, SpanStage::kCopyOut, SpanStage::kAdd, SpanStage::kPut}) {
      const bool slow = stage == slow_stage && rank == slow_rank;
      add_spans(state, stage, stage == SpanStage::kPut ? (rank + 1) % 4 : -1, 20,
                slow ? slow_ns : 200'000);
    }
  }
  return ranks;
}

TEST(Verdict, ASlowPart) {
  for (int rank = 0; rank < 4; ++rank) {
    expect_verdict(with_speeds(SpanStage::kAdd, rank, 2'000'000), "slow_adder", {rank},
                   "a 10th of the others'");
    expect_verdict(with_speeds(SpanStage::kCopyIn, rank, 4'000'000), "slow_copy", {rank},
                   "Device copies are slow on rank");
    expect_verdict(with_speeds(SpanStage::kPut, rank, 2'000'000), "slow_link",
                   {rank, (rank + 1) % 4}, "is slow");
    expect_verdict(with_speeds(SpanStage::kAdd, rank, 500'000), "healthy", {}, "Nothing is wrong");
    expect_verdict(with_speeds(SpanStage::kAdd, rank, 200'000), "healthy", {}, "Nothing is wrong");
  }
}

TEST(Verdict, AllEquallySlowIsHealthy) {
  auto ranks = make_ranks(4);
  for (RankState& rank : ranks) add_spans(rank, SpanStage::kAdd, -1, 20, 50'000'000);
  expect_verdict(ranks, "healthy", {}, "");
}

TEST(Verdict, TooLittleToSaySo) {
  auto ranks = make_ranks(2);
  add_spans(ranks[0], SpanStage::kAdd, -1, 3, 5'000'000);
  add_spans(ranks[1], SpanStage::kAdd, -1, 30, 100'000);
  expect_verdict(ranks, "healthy", {}, "");
  // Slow, but it makes no difference: most of the time goes elsewhere.
  ranks = make_ranks(2);
  for (RankState& rank : ranks) add_spans(rank, SpanStage::kCopyIn, -1, 20, 10'000'000);
  add_spans(ranks[0], SpanStage::kAdd, -1, 20, 1'000'000);
  add_spans(ranks[1], SpanStage::kAdd, -1, 20, 100'000);
  expect_verdict(ranks, "healthy", {}, "");
}

TEST(Verdict, OfTwoTheSlowerOne) {
  auto ranks = make_ranks(2);
  add_spans(ranks[0], SpanStage::kAdd, -1, 20, 100'000);
  add_spans(ranks[1], SpanStage::kAdd, -1, 20, 1'000'000);
  expect_verdict(ranks, "slow_adder", {1}, "rank 1");
}

}  // namespace
}  // namespace hfr_tests
