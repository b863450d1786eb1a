#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>

#include "base/text.hpp"
#include "command.hpp"

namespace hfr_tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

// A shell program, once per rank.
std::vector<std::string> run_shell(const std::string& program,
                                   std::vector<std::string> options = {}) {
  std::vector<std::string> arguments = {"run"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), {"--", "sh", "-c", program});
  return arguments;
}

// Ends only when it is ended.
const char* const kForever = "tail -f /dev/null";

// The one child of `pid`.
pid_t child_of(pid_t pid) {
  std::ifstream file(hfr::cat("/proc/", pid, "/task/", pid, "/children"));
  pid_t child = 0;
  file >> child;
  return child;
}

TEST(Launch, SetsTheEnvironment) {
  Finished run =
      run_command(run_shell("echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $NODE_RANK",
                            {"--nodes", "2", "--ranks-per-node", "3"}));
  EXPECT_EQ(run.status, 0) << run.error;
  EXPECT_THAT(sorted_lines(run.output), ElementsAre("0 6 0 3 0", "1 6 1 3 0", "2 6 2 3 0",
                                                    "3 6 0 3 1", "4 6 1 3 1", "5 6 2 3 1"));
}

TEST(Launch, RanksShareRendezvousAndSecretAndNodesDiffer) {
  Finished run = run_command(
      run_shell("echo $HFREDUCE_RENDEZVOUS $HFREDUCE_SECRET; echo host $HFREDUCE_HOSTID",
                {"--nodes", "2", "--ranks-per-node", "2"}));
  std::vector<std::string> lines = sorted_lines(run.output);
  ASSERT_EQ(lines.size(), 8u) << run.error;
  EXPECT_THAT(lines[0], MatchesRegex("127\\.0\\.0\\.1:[0-9]+ [0-9a-f]{32}"));
  EXPECT_EQ(lines[0], lines[3]);
  EXPECT_EQ(lines[4], lines[5]);
  EXPECT_EQ(lines[6], lines[7]);
  EXPECT_NE(lines[4], lines[6]);
  Finished other = run_command(run_shell("echo $HFREDUCE_SECRET $HFREDUCE_HOSTID"));
  EXPECT_EQ(run.output.find(other.output.substr(0, 32)), std::string::npos);
}

TEST(Launch, ReturnsTheFirstFailuresStatus) {
  Finished run = run_command(run_shell(hfr::cat("if [ $RANK = 1 ]; then exit 7; fi; ", kForever),
                                       {"--ranks-per-node", "3"}));
  EXPECT_EQ(run.status, 7);
  EXPECT_THAT(run.error,
              HasSubstr("rank 1 of 3 exited with status 7, the first to fail; ending the other 2"));
}

TEST(Launch, ReturnsTheFirstFailuresSignal) {
  Finished run = run_command(run_shell(
      hfr::cat("if [ $RANK = 2 ]; then kill -SEGV $$; fi; ", kForever), {"--ranks-per-node", "3"}));
  EXPECT_EQ(run.status, 128 + SIGSEGV);
  EXPECT_THAT(run.error, HasSubstr("rank 2 of 3 was killed by signal 11"));
}

TEST(Launch, TakesNoGraceWhenNobodyIsLeft) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(run_command(run_shell("exit 4", {"--grace", "3600", "--ranks-per-node", "2"})).status,
              4);
  }
}

TEST(Launch, TellsOfAProgramThatIsNotThere) {
  Finished run = run_command({"run", "--ranks-per-node", "2", "--", "/nowhere/program"});
  EXPECT_EQ(run.status, 127);
  EXPECT_THAT(run.error, HasSubstr("cannot start /nowhere/program: No such file or directory"));
  EXPECT_EQ(run_command({"run", "--", "/"}).status, 126);
}

TEST(Launch, EndsRanksThatIgnoreBeingAsked) {
  Command run(
      run_shell(
          hfr::cat("if [ $RANK = 0 ]; then read line; exit 5; fi; trap '' TERM; echo ready >&9; ",
                   kForever),
          {"--ranks-per-node", "2", "--grace", "0.05"}),
      {.hold_input = true});
  ASSERT_TRUE(run.read_signals(1));
  run.write_input("go\n");
  EXPECT_EQ(run.wait(), 5);
  EXPECT_TRUE(run.everyone_is_gone());
}

TEST(Launch, LeavesNothingBehindAfterSuccess) {
  // The background process has a session of its own, and ignores being asked.
  Command command(run_shell(
      hfr::cat("setsid sh -c \"trap '' TERM; echo ready >&9; ", kForever, "\" >/dev/null 2>&1 &"),
      {"--ranks-per-node", "2", "--grace", "0.05"}));
  EXPECT_EQ(command.wait(), 0);
  EXPECT_TRUE(command.everyone_is_gone());
}

// Each rank starts a process in a session of its own.
std::vector<std::string> with_stray_children() {
  return run_shell(hfr::cat("setsid ", kForever, " & echo ready >&9; ", kForever),
                   {"--ranks-per-node", "2"});
}

TEST(Launch, LeavesNothingBehindWhenKilled) {
  Command run(with_stray_children());
  ASSERT_TRUE(run.read_signals(2));
  kill(run.pid(), SIGKILL);
  EXPECT_TRUE(run.everyone_is_gone());
  EXPECT_EQ(run.wait(), 128 + SIGKILL);
}

TEST(Launch, LeavesNothingBehindWhenItsSupervisorIsKilled) {
  Command run(with_stray_children());
  ASSERT_TRUE(run.read_signals(2));
  const pid_t supervisor = child_of(run.pid());
  if (supervisor <= 0) GTEST_SKIP() << "this kernel does not list a process' children";
  kill(supervisor, SIGKILL);
  EXPECT_EQ(run.wait(), 128 + SIGKILL);
  EXPECT_TRUE(run.everyone_is_gone());
}

TEST(Launch, EndsWhenAsked) {
  Command run(with_stray_children());
  ASSERT_TRUE(run.read_signals(2));
  kill(run.pid(), SIGTERM);
  EXPECT_EQ(run.wait(), 128 + SIGTERM);
  EXPECT_TRUE(run.everyone_is_gone());
}

TEST(Launch, PassesSignalsOn) {
  for (int signal : {SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    for (const char* status : {"0", "3"}) {
      Command run(
          {"run", "--ranks-per-node", "2", "--grace", "60", "--", HFREDUCE_SIGNAL_WAITER, status});
      ASSERT_TRUE(run.read_signals(2));
      kill(run.pid(), signal);
      EXPECT_EQ(run.wait(), std::atoi(status)) << "signal " << signal << ": " << run.error();
      EXPECT_TRUE(run.everyone_is_gone());
    }
  }
}

TEST(Launch, ASecondRequestKills) {
  // The rank takes the first signal by ignoring it.
  Command run(
      run_shell(hfr::cat("trap '' TERM INT; echo ready >&9; ", kForever), {"--grace", "3600"}));
  ASSERT_TRUE(run.read_signals(1));
  kill(run.pid(), SIGTERM);
  kill(run.pid(), SIGINT);
  EXPECT_EQ(run.wait(), 128 + SIGKILL);
  EXPECT_TRUE(run.everyone_is_gone());
}

TEST(Launch, TagsLines) {
  Finished run = run_command(
      run_shell("echo out $RANK; printf unfinished", {"--ranks-per-node", "2", "--tag"}));
  EXPECT_EQ(run.status, 0);
  EXPECT_THAT(sorted_lines(run.output),
              ElementsAre("[0] out 0", "[0] unfinished", "[1] out 1", "[1] unfinished"));
  Finished errors = run_command(run_shell("echo err >&2", {"--tag"}));
  EXPECT_EQ(errors.output, "");
  EXPECT_EQ(errors.error, "[0] err\n");
}

TEST(Launch, TaggedOutputIsComplete) {
  Finished run = run_command(run_shell("seq 20000", {"--ranks-per-node", "2", "--tag"}));
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(sorted_lines(run.output).size(), 40000u);
}

TEST(Launch, EndsThoughNobodyReads) {
  Command run(run_shell("yes", {"--tag", "--grace", "0.05"}));
  ASSERT_EQ(run.read_line(), "[0] y");
  kill(run.pid(), SIGTERM);
  EXPECT_EQ(run.wait_unread(), 128 + SIGTERM);
  EXPECT_TRUE(run.everyone_is_gone());
}

TEST(Launch, RanksLearnThatTheReaderIsGone) {
  for (bool tag : {false, true}) {
    Command run(
        run_shell("yes", tag ? std::vector<std::string>{"--tag"} : std::vector<std::string>{}));
    ASSERT_FALSE(run.read_line().empty());
    run.close_output();
    EXPECT_EQ(run.wait_unread(), 128 + SIGPIPE);
  }
}

TEST(Launch, RankZeroReadsStandardInput) {
  Finished run =
      run_command(run_shell("echo $RANK $(cat)", {"--ranks-per-node", "2"}), {.input = "hello\n"});
  EXPECT_THAT(sorted_lines(run.output), ElementsAre("0 hello", "1"));
}

TEST(Launch, RefusesABadShape) {
  EXPECT_EQ(run_command({"run", "--nodes", "0", "--", "true"}).status, 2);
  EXPECT_EQ(run_command({"run", "--ranks-per-node", "2"}).status, 2);
}

TEST(Command, RefusesOptionsThatItDoesNotKnow) {
  for (const char* name : {"run", "perf", "topo", "sim", "doctor", "inspect", "trace"}) {
    const Finished run = run_command({name, "--bogus"});
    EXPECT_EQ(run.status, 2) << name;
    EXPECT_NE(run.error, "") << name;
    EXPECT_EQ(run_command({name, "--help"}).status, 0) << name;
  }
  EXPECT_EQ(run_command({}).status, 2);
}

}  // namespace
}  // namespace hfr_tests
