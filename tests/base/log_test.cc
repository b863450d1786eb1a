#include "base/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>
#include <vector>

namespace hfr {
namespace {

using testing::HasSubstr;

TEST(LogLevels, AreReadByName) {
  const LogLevels otherwise(LogLevel::kInfo);
  const auto read = [&](const char* text) { return *parse_log_levels(text, otherwise); };
  EXPECT_EQ(read("debug").of(Subsystem::kDevice), LogLevel::kDebug);
  const LogLevels some = read("error,transport=debug,setup=off");
  EXPECT_EQ(some.of(Subsystem::kTransport), LogLevel::kDebug);
  EXPECT_EQ(some.of(Subsystem::kSetUp), LogLevel::kOff);
  EXPECT_EQ(some.of(Subsystem::kOperation), LogLevel::kError);
  const LogLevels one = read("recovery=error");
  EXPECT_EQ(one.of(Subsystem::kRecovery), LogLevel::kError);
  EXPECT_EQ(one.of(Subsystem::kTransport), LogLevel::kInfo);
  for (const char* name :
       {"setup", "rendezvous", "transport", "device", "operation", "recovery", "metrics"}) {
    EXPECT_NE(read((std::string(name) + "=off").c_str()), otherwise) << name;
  }
  for (const char* bad : {"", "loud", "warn,", ",warn", "warn,info", "transport", "transport=",
                          "transport=loud", "cable=warn", "warn,transport=info=debug", "warn "}) {
    EXPECT_FALSE(parse_log_levels(bad, otherwise)) << bad;
  }
}

TEST(ExpandPath, PutsInTheRankTheHostAndTheProcess) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const std::string pid = std::to_string(getpid());
  EXPECT_EQ(expand_path("/a.%r.%p%", 12), "/a.12." + pid + "%");
  EXPECT_EQ(expand_path("%h/%r%r", 3), std::string(host) + "/33");
  EXPECT_EQ(expand_path("%x%%r", 3), "%x%3");
}

class LogFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "hfreduce_log_XXXXXX";
    const int fd = mkstemp(path_.data());
    ASSERT_GE(fd, 0);
    close(fd);
  }
  void TearDown() override { unlink(path_.c_str()); }

  Logger logger(const LogLevels& levels) const { return *Logger::to_file(levels, path_, "rank 3"); }
  std::vector<std::string> lines() const {
    std::ifstream file(path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  std::string path_;
};

TEST_F(LogFile, ALineSaysWhenWhoAndWhat) {
  logger(LogLevels()).of(Subsystem::kTransport).log(LogLevel::kWarn, "rank ", 5, " is slow");
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_TRUE(std::regex_match(
      lines()[0],
      std::regex(R"(hfreduce \d\d:\d\d:\d\d\.\d\d\d warn rank 3 transport: rank 5 is slow)")))
      << lines()[0];
}

TEST_F(LogFile, EachSubsystemHasItsLevel) {
  LogLevels levels(LogLevel::kError);
  levels.set(Subsystem::kDevice, LogLevel::kDebug);
  levels.set(Subsystem::kRecovery, LogLevel::kOff);
  const Logger all = logger(levels);
  for (const Subsystem subsystem :
       {Subsystem::kOperation, Subsystem::kDevice, Subsystem::kRecovery}) {
    for (const LogLevel level :
         {LogLevel::kError, LogLevel::kWarn, LogLevel::kInfo, LogLevel::kDebug}) {
      all.of(subsystem).log(level, "x");
    }
  }
  const auto written = lines();
  ASSERT_EQ(written.size(), 5u);
  EXPECT_THAT(written[0], HasSubstr("error rank 3 operation: x"));
  EXPECT_THAT(written[1], HasSubstr("error rank 3 device: x"));
  EXPECT_THAT(written[4], HasSubstr("debug rank 3 device: x"));
}

TEST_F(LogFile, WhatOthersSaidStaysOnItsLine) {
  logger(LogLevels()).log(LogLevel::kError, "it said \"a\nhfreduce 00:00:00.000 error\tb\"\r");
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_THAT(lines()[0], HasSubstr("\"a hfreduce 00:00:00.000 error b\" "));
}

TEST_F(LogFile, AFloodIsCutAndCounted) {
  constexpr uint64_t kMore = 1234;
  {
    const Logger one = logger(LogLevels(LogLevel::kDebug));
    const Logger transport = one.of(Subsystem::kTransport);
    for (uint64_t i = 0; i < Logger::kBurst + kMore; ++i) transport.log(LogLevel::kWarn, "flood");
    // Neither another level nor another subsystem suffers.
    transport.log(LogLevel::kError, "another level");
    one.log(LogLevel::kWarn, "another subsystem");
    for (uint64_t i = 0; i < 2 * Logger::kBurst; ++i) one.log(LogLevel::kDebug, "all of it");
  }
  const auto written = lines();
  const auto count = [&](const std::string& part) {
    return static_cast<uint64_t>(std::count_if(
        written.begin(), written.end(),
        [&](const std::string& line) { return line.find(part) != std::string::npos; }));
  };
  EXPECT_EQ(count("another level"), 1u);
  EXPECT_EQ(count("another subsystem"), 1u);
  EXPECT_EQ(count("all of it"), 2 * Logger::kBurst);
  // On a machine that needs more than the window for this, several windows' lines are printed.
  uint64_t told = 0;
  for (const std::string& line : written) {
    const size_t at = line.find(" more lines like these");
    if (at == std::string::npos) continue;
    EXPECT_THAT(line, HasSubstr("warn rank 3 transport: "));
    const size_t begin = line.rfind(' ', at - 1) + 1;
    told += std::stoull(line.substr(begin, at - begin));
  }
  EXPECT_EQ(count("flood") + told, Logger::kBurst + kMore);
  EXPECT_GE(told, 1u);
}

TEST_F(LogFile, LinesOfManyThreadsDoNotMix) {
  const Logger one = logger(LogLevels(LogLevel::kDebug));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) one.log(LogLevel::kDebug, std::string(300, 'x'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto written = lines();
  EXPECT_EQ(written.size(), 800u);
  for (const std::string& line : written) EXPECT_TRUE(line.ends_with(": " + std::string(300, 'x')));
}

TEST_F(LogFile, AFileThatCannotBeOpenedIsAnError) {
  const auto made = Logger::to_file(LogLevels(), "/nowhere/at/all", "");
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.status().message(), HasSubstr("HFREDUCE_LOG_FILE=/nowhere/at/all"));
}

}  // namespace
}  // namespace hfr
