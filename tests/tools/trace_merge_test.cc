#include "tools/trace_merge.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/trace.hpp"

namespace hfr::tools {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

class ManualClock : public Clock {
 public:
  uint64_t now_ns() const override { return 0; }
};

// A rank's file with one add, as the library writes it.
TraceFile file(int rank, uint64_t begin_ns, const TraceClock& clock) {
  const ManualClock none;
  Trace trace(none);
  trace.record(TraceStage::kAdd, 7, 64, begin_ns, begin_ns + 1500);
  return {"trace." + std::to_string(rank), trace.text(rank, "a rank", clock)};
}

std::vector<std::pair<int, double>> adds(const std::string& text) {
  std::vector<std::pair<int, double>> found;
  const json trace = json::parse(text);
  for (const json& event : trace["traceEvents"]) {
    if (event["name"] == "add") found.emplace_back(event["pid"], event["ts"]);
  }
  return found;
}

TEST(TraceMerge, RanksOfAMachineHaveOneClock) {
  // The time of day was set between the two.
  const std::vector<TraceFile> files = {file(0, 9'000'000, {"a", 1'000'000'000'000}),
                                        file(1, 8'000'500, {"a", 2'000'000'000'000})};
  const auto merged = merge_traces(files);
  ASSERT_TRUE(merged.ok()) << merged.status().message();
  const auto found = adds(*merged);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], std::make_pair(1, 0.0));
  EXPECT_EQ(found[1].first, 0);
  EXPECT_NEAR(found[1].second, 999.5, 1e-6);
}

TEST(TraceMerge, MachinesMeetByTheTimeOfDay) {
  // Rank 1's machine was started 5 s before rank 0's.
  constexpr int64_t kDay = 1'700'000'000'000'000'000;
  const std::vector<TraceFile> files = {file(0, 1'000'000'000, {"a", kDay}),
                                        file(1, 6'000'250'000, {"b", kDay - 5'000'000'000})};
  const auto merged = merge_traces(files);
  ASSERT_TRUE(merged.ok());
  const auto found = adds(*merged);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], std::make_pair(0, 0.0));
  EXPECT_NEAR(found[1].second, 250, 1);
}

TEST(TraceMerge, KeepsNamesAndCanBeMergedOn) {
  const std::vector<TraceFile> files = {file(0, 1, {"a", 0})};
  const auto merged = merge_traces(files);
  ASSERT_TRUE(merged.ok());
  EXPECT_THAT(*merged, AllOf(HasSubstr("process_name"), HasSubstr("a rank"),
                             HasSubstr("process_sort_index"), HasSubstr("\"wait for slot\"")));
  const std::vector<TraceFile> again = {{"merged", *merged}};
  EXPECT_TRUE(merge_traces(again).ok());
}

TEST(TraceMerge, SaysWhatIsWrong) {
  const auto refused = [](std::vector<TraceFile> files) {
    const auto merged = merge_traces(files);
    return merged.ok() ? std::string("taken") : merged.status().message();
  };
  EXPECT_THAT(refused({file(0, 1, {"a", 0}), file(0, 1, {"a", 0})}), HasSubstr("rank 0"));
  for (const char* bad :
       {"", "{", "7", "{}", "[7]", R"([{"pid":"x"}])", R"([{"pid":1,"ts":"now"}])",
        R"([{"pid":1,"name":"hfreduce_clock"}])",
        R"([{"pid":1,"name":"hfreduce_clock","args":{"machine":1,"to_realtime_ns":2}}])",
        R"([{"pid":1,"ts":1}])"}) {
    EXPECT_THAT(refused({{"the file", bad}}), HasSubstr("the file: ")) << bad;
  }
}

}  // namespace
}  // namespace hfr::tools
