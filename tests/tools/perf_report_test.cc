#include "tools/perf_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/progress.hpp"

namespace hfr::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream in(text);
  for (std::string word; in >> word;) result.push_back(word);
  return result;
}

PerfRow example() { return {1 << 20, 1 << 18, HFR_FLOAT32, HFR_SUM, {1e-3, 0}, {2e-3, 3}}; }

TEST(PerfReport, RowHasTheColumnsThatScriptsRead) {
  EXPECT_THAT(words(table_row(example(), 4)),
              ElementsAre("1048576", "262144", "float", "sum", "-1", "1000.0", "1.05", "1.57", "0",
                          "2000.0", "0.52", "0.79", "3"));
}

TEST(PerfReport, ColumnsLineUpWithTheHeader) {
  std::istringstream header(table_header());
  std::string blank, places, names, units;
  for (std::string* line : {&blank, &places, &names, &units}) std::getline(header, *line);
  const std::string row = table_row(example(), 4);
  EXPECT_EQ(names.size(), row.size() - 1);
  // Right-aligned: each name ends where its value ends.
  for (size_t at = 1; at < names.size(); ++at) {
    const bool ends = names[at] != ' ' && (at + 1 == names.size() || names[at + 1] == ' ');
    if (ends) {
      EXPECT_NE(row[at], ' ') << "column " << at << "\n" << names << "\n" << row;
      EXPECT_TRUE(row[at + 1] == ' ' || row[at + 1] == '\n') << "column " << at;
    }
  }
  EXPECT_THAT(words(names),
              ElementsAre("#", "size", "count", "type", "redop", "root", "time", "algbw", "busbw",
                          "#wrong", "time", "algbw", "busbw", "#wrong"));
}

TEST(PerfReport, TimesKeepTheirWidth) {
  for (double seconds : {2e-6, 12.34e-6, 99.99e-6, 123.4e-6, 12'345e-6, 9.99}) {
    PerfRow row = example();
    row.out_of_place.seconds = seconds;
    EXPECT_EQ(table_row(row, 4).size(), table_row(example(), 4).size()) << seconds;
  }
}

TEST(PerfReport, UncheckedIsNotAvailable) {
  PerfRow row = example();
  row.in_place.wrong.reset();
  EXPECT_EQ(words(table_row(row, 2)).back(), "N/A");
}

TEST(PerfReport, Footer) {
  EXPECT_THAT(table_footer({0, 1.5}),
              HasSubstr("# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 1.5\n"));
  EXPECT_THAT(table_footer({2, 1.5}), HasSubstr("# Out of bounds values : 2 FAILED\n"));
}

TEST(PerfReport, Summary) {
  PerfSummary summary = summarize({example(), example()}, 2);
  EXPECT_EQ(summary.wrong, 6u);
  EXPECT_NEAR(summary.bus_bandwidth, (1.048576 + 0.524288) / 2, 1e-9);
  EXPECT_EQ(summarize({}, 2).bus_bandwidth, 0);
}

TEST(PerfReport, Json) {
  PerfRow unchecked = example();
  unchecked.in_place.wrong.reset();
  auto document = nlohmann::json::parse(
      json_document({example(), unchecked}, {4, 2, "hfreduce perf \"\xff\""}));
  EXPECT_EQ(document["ranks"], 4);
  EXPECT_EQ(document["nodes"], 2);
  EXPECT_EQ(document["out_of_bounds"], 3);
  ASSERT_EQ(document["results"].size(), 2u);
  const auto& row = document["results"][0];
  EXPECT_EQ(row["size"], 1 << 20);
  EXPECT_EQ(row["count"], 1 << 18);
  EXPECT_EQ(row["type"], "float");
  EXPECT_EQ(row["redop"], "sum");
  EXPECT_EQ(row["root"], -1);
  EXPECT_DOUBLE_EQ(row["out_of_place"]["time_us"], 1000);
  EXPECT_DOUBLE_EQ(row["out_of_place"]["algbw"], 1.048576);
  EXPECT_DOUBLE_EQ(row["out_of_place"]["busbw"], 1.048576 * 1.5);
  EXPECT_EQ(row["in_place"]["wrong"], 3);
  EXPECT_TRUE(document["results"][1]["in_place"]["wrong"].is_null());
}

TEST(Progress, Line) {
  EXPECT_EQ(progress_line(1, 2, "4 KiB"), "[####################....................] 1/2 4 KiB");
  EXPECT_EQ(progress_line(2, 2, "").find('.'), std::string::npos);
  EXPECT_EQ(progress_line(0, 0, "").find('.'), std::string::npos);
}

}  // namespace
}  // namespace hfr::tools
