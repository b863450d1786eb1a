#include "tools/sim_fault.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tools/sim_cluster.hpp"
#include "tools/sim_fault_report.hpp"
#include "tools/sim_report.hpp"

namespace hfr_tests {
namespace {

using hfr::sim::FaultKind;
using hfr::tools::FaultSpec;
using hfr::tools::parse_fault;
using testing::HasSubstr;

constexpr hfr::sim::SimTime kUs = hfr::sim::kPsPerUs;

TEST(SimFault, SaysWhatWhereAndWhen) {
  const FaultSpec kill = *parse_fault("kill:17@2ms");
  EXPECT_EQ(kill.kind, FaultKind::kKill);
  EXPECT_EQ(kill.where, 17);
  EXPECT_EQ(kill.at, 2000 * kUs);
  EXPECT_EQ(kill.lasts, hfr::sim::kNever);
  const FaultSpec cut = *parse_fault("cut:any@any+0.5s");
  EXPECT_EQ(cut.kind, FaultKind::kCut);
  EXPECT_FALSE(cut.where);
  EXPECT_FALSE(cut.at);
  EXPECT_EQ(cut.lasts, 500'000 * kUs);
  const FaultSpec slow = *parse_fault("slow*4.5:0@0");
  EXPECT_EQ(slow.factor, 4.5);
  EXPECT_EQ(slow.at, 0u);
}

TEST(SimFault, RefusesTheRestInWords) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "':' before"},
      {"kill", "':' before"},
      {"kill@2ms:17", "':' before"},
      {"crash:17@2ms", "kinds are kill, stop"},
      {"kill:x@2ms", "'x' is no rank"},
      {"cut:-1@2ms", "'-1' is no node"},
      {"kill:1@2", "'2' is no time"},
      {"kill:1@2h", "'2h' is no time"},
      {"kill:1@-2ms", "'-2ms' is no time"},
      {"kill:1@nan", "'nan' is no time"},
      {"kill:1@1e99s", "is no time"},
      {"kill:1@2ms+1ms", "has no end"},
      {"cut:1@2ms+", "duration"},
      {"cut:1@2ms+0", "duration"},
      {"slow:1@2ms", "slow*4"},
      {"cut*4:1@2ms", "slow*4"},
      {"slow*0.5:1@2ms", "from 1 to"},
      {"slow*:1@2ms", "from 1 to"},
  };
  for (const auto& [text, sentence] : cases) {
    const auto fault = parse_fault(text);
    ASSERT_FALSE(fault.ok()) << text;
    EXPECT_THAT(fault.status().message(), HasSubstr(sentence)) << text;
  }
}

TEST(SimFault, TheSeedPlacesWhatIsOpen) {
  const std::vector<FaultSpec> specs = {*parse_fault("cut:any@any+10us"),
                                        *parse_fault("kill:3@any"), *parse_fault("lose:any@7us")};
  const auto one = hfr::tools::place_faults(specs, 1, 1000, 8000, 1000 * kUs);
  const auto again = hfr::tools::place_faults(specs, 1, 1000, 8000, 1000 * kUs);
  const auto two = hfr::tools::place_faults(specs, 2, 1000, 8000, 1000 * kUs);
  ASSERT_EQ(one.size(), 3u);
  EXPECT_EQ(one[0].where, again[0].where);
  EXPECT_EQ(one[0].at, again[0].at);
  EXPECT_NE(one[0].at, two[0].at);
  EXPECT_LT(one[0].where, 1000);
  EXPECT_LT(one[0].at, 1000 * kUs);
  EXPECT_EQ(one[0].until, one[0].at + 10 * kUs);
  EXPECT_EQ(one[1].where, 3);
  EXPECT_EQ(one[2].at, 7 * kUs);
}

TEST(SimFault, TableAndJsonSayWhoEndedHow) {
  hfr::tools::SimRequest request;
  request.cluster = *hfr::tools::read_cluster_file(HFREDUCE_CLUSTERS "/fire-flyer-2.json");
  request.num_gpus = 32;
  request.bytes = 16 << 20;
  request.faults = {*parse_fault("kill:9@1ms"), *parse_fault("slow*2:3@0")};
  const auto point = hfr::tools::simulate(request, nullptr, {});
  ASSERT_TRUE(point.ok()) << point.status().message();
  const std::string table = hfr::tools::fault_table({*point});
  EXPECT_THAT(table, HasSubstr("kill rank 9 at 1000 us"));
  EXPECT_THAT(table, HasSubstr("rank 9 died"));
  const auto json = nlohmann::json::parse(hfr::tools::sim_json(request.cluster, {*point}));
  const auto& result = json["results"][0];
  EXPECT_EQ(result["faults"][0]["kind"], "kill");
  EXPECT_EQ(result["faults"][1]["factor"], 2);
  ASSERT_EQ(result["endings"].size(), 32u);
  EXPECT_EQ(result["endings"][9]["ended"], "gone");
  EXPECT_EQ(result["endings"][9]["time_us"], 1000);
  for (const auto& ending : result["endings"]) {
    if (ending["rank"] == 9) continue;
    EXPECT_EQ(ending["ended"], "failed");
    EXPECT_EQ(ending["status"], "remote rank failed");
    EXPECT_EQ(ending["blames_rank"], 9);
    EXPECT_LT(ending["time_us"], 10'000);
  }
  // The numbers beside are those without faults.
  request.faults.clear();
  EXPECT_EQ(hfr::tools::simulate(request, nullptr, {})->seconds, point->seconds);
}

TEST(SimFault, WhatTheJobHasNotIsRefused) {
  hfr::tools::SimRequest request;
  request.cluster = *hfr::tools::read_cluster_file(HFREDUCE_CLUSTERS "/fire-flyer-2.json");
  request.num_gpus = 16;
  request.bytes = 4096;
  request.faults = {*parse_fault("cut:2@0")};
  const auto point = hfr::tools::simulate(request, nullptr, {});
  ASSERT_FALSE(point.ok());
  EXPECT_EQ(point.status().code(), hfr::Code::kInvalidArgument);
  EXPECT_THAT(point.status().message(), HasSubstr("only 2 nodes"));
}

}  // namespace
}  // namespace hfr_tests
