#include "comm/comm_metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace hfr {
namespace {

using testing::HasSubstr;

CommMetrics example(int rank) {
  CommMetrics one;
  one.rank = rank;
  one.node = rank / 2;
  one.comm = static_cast<uint64_t>(10 + rank);
  one.operations_started = 7;
  one.operations_completed = 6;
  one.operations_by_path = {1, 2, 3};
  StageMeter add;
  add.count(65536);
  add.time(5000);
  add.time(1'500'000'001);
  one.stages[static_cast<size_t>(Stage::kAdd)] = add.totals();
  one.stages[static_cast<size_t>(Stage::kOperation)].bytes = 12345;
  one.puts_refused = 4;
  one.links_broken = 2;
  one.links_mended = 1;
  if (rank == 1) one.failure = Code::kTimeout;
  return one;
}

TEST(CommMetrics, WhatWasCountedBeforeIsAdded) {
  CommMetrics sum = example(0);
  sum.add(example(1));
  EXPECT_EQ(sum.rank, 0);
  EXPECT_EQ(sum.failure, Code::kOk);
  EXPECT_EQ(sum.operations_started, 14u);
  EXPECT_EQ(sum.operations_completed, 12u);
  EXPECT_EQ(sum.operations_by_path, (std::array<uint64_t, 3>{2, 4, 6}));
  EXPECT_EQ(sum.of(Stage::kOperation).bytes, 24690u);
  const StageTotals& add = sum.of(Stage::kAdd);
  EXPECT_EQ(add.count, 2u);
  EXPECT_EQ(add.bytes, 131072u);
  EXPECT_EQ(add.timed, 4u);
  EXPECT_EQ(add.time_ns, 3'000'010'002u);
  EXPECT_EQ(add.buckets[time_bucket(5000)], 2u);
  EXPECT_EQ(sum.puts_refused, 8u);
  EXPECT_EQ(sum.links_broken, 4u);
  EXPECT_EQ(sum.links_mended, 2u);
}

TEST(CommMetrics, NumbersStandUnderTheirNames) {
  const std::vector<CommMetrics> all = {example(0), example(1)};
  const std::string text = prometheus_text(all);
  for (const char* line : {
           "hfreduce_operations_started_total{rank=\"0\",node=\"0\",comm=\"10\"} 7\n",
           "hfreduce_operations_completed_total{rank=\"1\",node=\"0\",comm=\"11\"} 6\n",
           "hfreduce_operation_bytes_total{rank=\"0\",node=\"0\",comm=\"10\"} 12345\n",
           "hfreduce_operations_total{rank=\"0\",node=\"0\",comm=\"10\",path=\"lanes\"} 3\n",
           "hfreduce_stage_chunks_total{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\"} 1\n",
           "hfreduce_stage_bytes_total{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\"} 65536\n",
           "hfreduce_stage_seconds_bucket{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\",le=\"0."
           "000004096\"} 0\n",
           "hfreduce_stage_seconds_bucket{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\",le=\"0."
           "000016384\"} 1\n",
           "hfreduce_stage_seconds_bucket{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\",le=\"+"
           "Inf\"} 2\n",
           "hfreduce_stage_seconds_sum{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\"} "
           "1.500005001\n",
           "hfreduce_stage_seconds_count{rank=\"0\",node=\"0\",comm=\"10\",stage=\"add\"} 2\n",
           "hfreduce_links_broken_total{rank=\"0\",node=\"0\",comm=\"10\"} 2\n",
           "hfreduce_links_mended_total{rank=\"0\",node=\"0\",comm=\"10\"} 1\n",
           "hfreduce_failed{rank=\"0\",node=\"0\",comm=\"10\",status=\"none\"} 0\n",
           "hfreduce_failed{rank=\"1\",node=\"0\",comm=\"11\",status=\"timeout\"} 1\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

// The rules that a scraper holds a page to.
TEST(CommMetrics, KeepsTheRulesOfTheFormat) {
  const std::vector<CommMetrics> all = {example(0), example(1), example(2)};
  std::istringstream lines(prometheus_text(all));
  const std::regex sample(R"(([a-z_]+)\{([a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*)\} ([0-9.]+))");
  std::set<std::string> families;
  std::string family, type;
  std::map<std::string, double> last_bucket;  // of a series, without le
  std::set<std::string> series;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << family << " comes twice";
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      ASSERT_EQ(line.substr(7, family.size()), family);
      type = line.substr(7 + family.size() + 1);
      continue;
    }
    std::smatch match;
    ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
    std::string name = match[1], labels = match[2];
    EXPECT_TRUE(series.insert(name + labels).second) << line << " comes twice";
    if (type == "counter") {
      EXPECT_TRUE(name == family && name.ends_with("_total")) << line;
    } else if (type == "gauge") {
      EXPECT_EQ(name, family);
    } else {
      ASSERT_EQ(type, "histogram");
      ASSERT_TRUE(name == family + "_bucket" || name == family + "_sum" ||
                  name == family + "_count")
          << line;
      const size_t le = labels.find(",le=");
      ASSERT_EQ(name.ends_with("_bucket"), le != std::string::npos) << line;
      if (le != std::string::npos) {
        double& last = last_bucket[family + labels.substr(0, le)];
        const double value = std::stod(match[3]);
        EXPECT_GE(value, last) << line;
        last = value;
      } else if (name.ends_with("_count")) {
        EXPECT_EQ(std::stod(match[3]), last_bucket.at(family + labels)) << line;
      }
    }
  }
  EXPECT_GT(families.size(), 12u);
}

TEST(CommMetrics, EveryFailureHasAWordOfItsOwn) {
  std::set<std::string> pages;
  for (int code = 0; code == 0 || is_failure_code(code); ++code) {
    CommMetrics one;
    one.failure = static_cast<Code>(code);
    pages.insert(prometheus_text(std::span(&one, 1)));
  }
  EXPECT_EQ(pages.size(), 13u);
}

}  // namespace
}  // namespace hfr
