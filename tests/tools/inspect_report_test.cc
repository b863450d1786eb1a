// What inspect prints of records that are made up, and which of two records counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "made_up_records.hpp"

namespace hfr_tests {
namespace {

using hfr::Code;
using hfr::WaitStage;
using hfr::tools::RankState;
using testing::HasSubstr;
using testing::Not;

TEST(Report, HasATableAndAVerdict) {
  auto ranks = make_ranks(3);
  ranks.pop_back();
  wait_for(ranks[0], 1, WaitStage::kStarting);
  const auto all = hfr::tools::judge_all(ranks);
  const std::string text = inspect_text(all, {{"folder/x.record", "it is not a record"}}, false);
  EXPECT_THAT(text, HasSubstr("communicator 0000000000000001: 3 ranks on 2 nodes, no record of "
                              "rank 2"));
  EXPECT_THAT(text, HasSubstr("#3 all_reduce of 20 float32, sum"));
  EXPECT_THAT(text, HasSubstr("rank 1: starting it"));
  EXPECT_THAT(text, HasSubstr("verdict: Rank 1 (node 1, host beta, pid 101) has not called"));
  EXPECT_THAT(text, HasSubstr("what to do: "));
  EXPECT_THAT(text, HasSubstr("not read: folder/x.record: it is not a record"));
}

TEST(Report, HealthyOnesAreCounted) {
  auto ranks = make_ranks(2);
  auto others = make_ranks(2);
  for (RankState& rank : others) rank.record.owner.communicator = 2;
  ranks.insert(ranks.end(), others.begin(), others.end());
  const auto all = hfr::tools::judge_all(ranks);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_THAT(inspect_text(all, {}, false), "2 communicators have no trouble\n");
  EXPECT_THAT(inspect_text(all, {}, true), HasSubstr("verdict: Nothing is wrong"));
}

TEST(Report, ManyRanksThatDoTheSameShareARow) {
  auto ranks = make_ranks(300);
  for (size_t rank = 1; rank < 300; ++rank) wait_for(ranks[rank], 0, WaitStage::kStarting);
  const auto all = hfr::tools::judge_all(ranks);
  const std::string text = inspect_text(all, {}, true);
  EXPECT_THAT(text, HasSubstr("10 s  and 298 like it"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6) << text;
}

TEST(Report, OldTroubleIsCounted) {
  std::vector<RankState> ranks;
  for (uint64_t id = 1; id <= 6; ++id) {
    auto failed = make_ranks(1);
    failed[0].record.owner.communicator = id;
    failed[0].record.created_epoch_ns = id;
    fail(failed[0], Code::kAborted, 0, "rank 0 called hfr_comm_abort");
    ranks.push_back(failed[0]);
  }
  const auto all = hfr::tools::judge_all(ranks);
  const std::string text = inspect_text(all, {}, false);
  EXPECT_THAT(text, HasSubstr("communicator 0000000000000006"));
  EXPECT_THAT(text, HasSubstr("communicator 0000000000000003"));
  EXPECT_THAT(text, Not(HasSubstr("communicator 0000000000000002")));
  EXPECT_THAT(text, HasSubstr("2 older with trouble: name the folder to see all"));
  EXPECT_THAT(inspect_text(all, {}, true), HasSubstr("communicator 0000000000000001"));
}

TEST(Report, OfTwoRecordsOfARankTheOneThatKnowsMoreCounts) {
  auto ranks = make_ranks(2);
  RankState copy = ranks[1];
  copy.record.called = copy.record.completed = 2;
  ranks.push_back(copy);
  auto all = hfr::tools::judge_all(ranks);
  ASSERT_EQ(all.size(), 1u);
  ASSERT_EQ(all[0].ranks.size(), 2u);
  EXPECT_EQ(all[0].ranks[1].record.called, 3u);
  // One that says that the communicator has another size is not of it.
  RankState stranger = ranks[1];
  stranger.record.owner.num_ranks = 500;
  stranger.record.owner.rank = 400;
  ranks.push_back(stranger);
  all = hfr::tools::judge_all(ranks);
  EXPECT_EQ(all[0].ranks.size(), 2u);
}

}  // namespace
}  // namespace hfr_tests
