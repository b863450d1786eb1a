// `hfreduce inspect` on real jobs that hang, fail, or have ended.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/waiter.hpp"
#include "command.hpp"

namespace hfr_tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class Inspect : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/inspect-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Ranks whose second one misbehaves so.
  std::vector<std::string> job(const std::string& how,
                               std::vector<std::string> options = {"--ranks-per-node", "3"}) const {
    std::vector<std::string> arguments = {"run"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"--", HFREDUCE_INSPECT_RANK, how});
    return arguments;
  }
  CommandOptions with_records(const std::string& timeout_ms = "600000") const {
    CommandOptions options;
    options.environment = {{"HFREDUCE_RECORDER_DIR", folder_}, {"HFREDUCE_TIMEOUT_MS", timeout_ms}};
    return options;
  }

  json inspect(const std::string& folder) const {
    const Finished finished = run_command({"inspect", "--json", folder});
    if (finished.status == 2) return json();
    json all = json::parse(finished.output, nullptr, false);
    EXPECT_FALSE(all.is_discarded()) << finished.output;
    const bool healthy = all["communicators"].size() == 1 && verdict(all)["healthy"];
    EXPECT_EQ(finished.status, healthy ? 0 : 1) << finished.output;
    return all;
  }
  static json verdict(const json& all) { return all["communicators"][0]["verdict"]; }

  // Looks until there is a verdict of this kind that says so: a hang takes a second for it, and the
  // ranks that wait come to it one after the other.
  json await_verdict(const std::string& kind, const std::string& part = "") const {
    json all;
    const uint64_t until = hfr::monotonic_ns() + uint64_t{kPatienceMs} * 1'000'000;
    while (hfr::monotonic_ns() < until) {
      all = inspect(folder_);
      if (!all.is_null() && !all["communicators"].empty() && verdict(all)["kind"] == kind &&
          std::string(verdict(all)["sentence"]).find(part) != std::string::npos) {
        return all;
      }
      hfr::Waiter::sleep(50'000'000);
    }
    ADD_FAILURE() << "no verdict " << kind << ", " << part << ": " << all.dump(1);
    return json();
  }

  void expect_hang(const std::string& how, const std::string& kind, const std::string& part,
                   const std::vector<std::string>& options = {"--ranks-per-node", "3"}) {
    Command command(job(how, options), with_records());
    const json all = await_verdict(kind, part);
    if (all.is_null()) return;
    EXPECT_EQ(verdict(all)["culprits"], json::array({1})) << all.dump(1);
    const Finished text = run_command({"inspect", folder_});
    EXPECT_EQ(text.status, 1);
    EXPECT_THAT(text.output, HasSubstr("\nverdict: "));
    // The job is killed; its records stay, and still say who held it up.
    kill(command.pid(), SIGKILL);
  }

  // The job ends by itself, with a failure.
  void expect_failure(const std::string& how, const std::string& timeout_ms,
                      const std::string& kind, const std::string& part) {
    const Finished finished =
        run_command(job(how, {"--ranks-per-node", "3", "--grace", "60"}), with_records(timeout_ms));
    EXPECT_NE(finished.status, 0);
    EXPECT_THAT(finished.error, HasSubstr("hfreduce inspect " + folder_));
    const json all = inspect(folder_);
    ASSERT_FALSE(all.is_null()) << finished.error;
    ASSERT_EQ(all["communicators"].size(), 1u) << all.dump(1);
    EXPECT_EQ(verdict(all)["kind"], kind) << all.dump(1);
    EXPECT_EQ(verdict(all)["culprits"], json::array({1})) << all.dump(1);
    EXPECT_THAT(std::string(verdict(all)["sentence"]), HasSubstr(part));
  }

  // False while it has no record.
  bool stop_rank_1() const {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      const std::string name = entry.path().filename().string();
      unsigned pid = 0;
      if (std::sscanf(name.c_str(), "%*16[0-9a-f]-1-%u.record", &pid) != 1) continue;
      return kill(static_cast<pid_t>(pid), SIGSTOP) == 0;
    }
    return false;
  }

  size_t num_files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  std::string folder_;
};

TEST_F(Inspect, AHangBecauseOfARankThatNeverCalled) {
  expect_hang("never", "never_called",
              "has not called operation #3 (all_reduce of 1000 float32, sum), in which ranks 0 and "
              "2 have waited for");
}

TEST_F(Inspect, BetweenNodes) {
  expect_hang("never", "never_called", "has not called operation #3",
              {"--nodes", "3", "--ranks-per-node", "1"});
}

TEST_F(Inspect, AHangBecauseOfAStoppedRank) { expect_hang("stopped", "stopped", "is stopped"); }

// Rank 1 is stopped as soon as it has a record, which may be too late: then again.
TEST_F(Inspect, AHangInSetUp) {
  std::string stage;
  for (int attempt = 0; attempt < 5 && stage.rfind("set-up: ", 0) != 0; ++attempt) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    Command command(job("never"), with_records());
    while (!stop_rank_1()) std::this_thread::yield();
    stage = "";
    const json all = inspect(folder_);
    if (all.is_null() || all["communicators"].empty()) continue;
    for (const json& rank : all["communicators"][0]["ranks"]) {
      if (rank["rank"] == 0 && rank["stage"].is_string()) stage = rank["stage"];
    }
    kill(command.pid(), SIGKILL);
  }
  EXPECT_THAT(stage, HasSubstr("set-up: "));
}

TEST_F(Inspect, AHangWhereAllFinalizeButOne) {
  expect_hang("finalize", "not_meeting", "rank 1 has not come there");
}

TEST_F(Inspect, MismatchesAfterTheEnd) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"size", "the sizes differ"},
      {"type", "the types differ"},
      {"op", "the operations differ"},
      {"order", "the order is another"}};
  for (const auto& [how, reason] : cases) {
    expect_failure(how, "600000", "mismatch", reason);
    fs::remove_all(folder_);
    fs::create_directory(folder_);
  }
}

TEST_F(Inspect, ADeadPeerAfterTheEnd) {
  expect_failure("dead", "600000", "dead", "Rank 1 (node 0, host ");
}

// The launcher leaves the survivors no time to say who died. The thread that is to see it first may
// be killed before it has run: then again.
TEST_F(Inspect, ADeadPeerWhenAllAreKilledAtOnce) {
  json all;
  for (int attempt = 0; attempt < 5; ++attempt) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    run_command(job("dead", {"--ranks-per-node", "3", "--grace", "0"}), with_records());
    all = inspect(folder_);
    ASSERT_FALSE(all.is_null());
    if (!all["communicators"][0]["ends"].empty()) break;
  }
  EXPECT_EQ(verdict(all)["kind"], "dead") << all.dump(1);
  EXPECT_EQ(verdict(all)["culprits"], json::array({1})) << all.dump(1);
  const json ends = all["communicators"][0]["ends"];
  ASSERT_FALSE(ends.empty()) << all.dump(1);
  EXPECT_EQ(ends[0], (json{{"rank", 1}, {"after_s", 0.0}}));
}

// The deadline has passed, and the rank that did not call was ended by the launcher.
TEST_F(Inspect, ATimeoutAfterTheEnd) {
  expect_failure("never", "1000", "never_called", "has not called operation #3");
}

TEST_F(Inspect, AJobThatEndsWellLeavesNothing) {
  const Finished finished = run_command(job("well"), with_records());
  EXPECT_EQ(finished.status, 0) << finished.error;
  EXPECT_EQ(num_files(), 0u);
  const Finished nothing = run_command({"inspect", folder_});
  EXPECT_EQ(nothing.status, 2);
  EXPECT_THAT(nothing.error, HasSubstr("no records in " + folder_));
}

TEST_F(Inspect, RecordsOfThoseThatLeftWithoutTroubleAreSwept) {
  EXPECT_EQ(run_command(job("leave"), with_records()).status, 0);
  EXPECT_EQ(num_files(), 3u);
  const json all = inspect(folder_);
  ASSERT_EQ(all["communicators"].size(), 1u);
  EXPECT_EQ(verdict(all)["kind"], "healthy");
  EXPECT_EQ(run_command(job("well"), with_records()).status, 0);
  EXPECT_EQ(num_files(), 0u);
}

TEST_F(Inspect, OffRecordsNothing) {
  CommandOptions options = with_records();
  options.environment[0].second = "off";
  const Finished finished = run_command(job("size"), options);
  EXPECT_NE(finished.status, 0);
  EXPECT_THAT(finished.error, Not(HasSubstr("hfreduce inspect")));
  EXPECT_EQ(num_files(), 0u);
}

// A picture of a job that goes on; saved, it tells the same.
TEST_F(Inspect, ASignalAndSaving) {
  CommandOptions options = with_records();
  options.environment.emplace_back("HFREDUCE_RECORDER_SIGNAL", "USR1");
  Command command(job("on"), options);
  const std::string dumps = folder_ + "/dumps";
  // Once the first operations have completed on all ranks, all have their handler: before, the
  // signal would end them. A rank that a busy machine lets wait for a second is no healthy one.
  json all;
  const auto has_all_healthy = [](const json& found) {
    return !found.is_null() && !found["communicators"].empty() &&
           found["communicators"][0]["ranks"].size() == 3 && verdict(found)["healthy"];
  };
  while (!has_all_healthy(all)) {
    hfr::Waiter::sleep(10'000'000);
    const json live = inspect(folder_);
    if (live.is_null() || live["communicators"][0]["ranks"].size() < 3 ||
        live["communicators"][0]["ranks"][0]["completed"] < 3) {
      continue;
    }
    kill(command.pid(), SIGUSR1);
    all = inspect(dumps);
  }
  EXPECT_EQ(all["communicators"][0]["ranks"][0]["process"], "running");
  const Finished saved = run_command({"inspect", "--save", folder_ + "/saved", folder_});
  EXPECT_NE(saved.status, 2) << saved.output << saved.error;
  kill(command.pid(), SIGKILL);
  const json later = inspect(folder_ + "/saved");
  ASSERT_EQ(later["communicators"].size(), 1u);
  EXPECT_EQ(later["communicators"][0]["ranks"].size(), 3u);
  EXPECT_EQ(later["communicators"][0]["ranks"][2]["process"], "running") << "as it was then";
}

TEST_F(Inspect, WhatIsNoRecordIsNamed) {
  {
    Command command(job("never"), with_records());
    await_verdict("never_called");
    kill(command.pid(), SIGKILL);
  }
  std::FILE* file = std::fopen((folder_ + "/x.record").c_str(), "w");
  std::fputs("nothing", file);
  std::fclose(file);
  const Finished text = run_command({"inspect", folder_});
  EXPECT_EQ(text.status, 1);
  EXPECT_THAT(text.output, HasSubstr("x.record: it is too short for a record"));
  EXPECT_EQ(run_command({"inspect", folder_ + "/nowhere"}).status, 2);
}

}  // namespace
}  // namespace hfr_tests
