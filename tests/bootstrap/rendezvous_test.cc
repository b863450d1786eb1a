// Joining, exchange, the control plane.
#include "bootstrap/rendezvous.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>

#include "joining.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Where a time that the library keeps decides who is in time, a rank that the machine runs too late
// is not, and what comes of it is right, but not what the test is about. So it may try again.
// `attempt` says what is wrong, or nothing.
void expect_soon(const std::function<std::string()>& attempt) {
  std::string wrong;
  for (int i = 0; i < 5; ++i) {
    wrong = attempt();
    if (wrong.empty()) return;
  }
  FAIL() << wrong;
}

TEST(Rendezvous, GathersInRankOrder) {
  Meeting meeting(7);
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    for (int round = 0; round < 5; ++round) {
      std::string mine = cat(rank, "/", round);
      auto all =
          (*membership)->all_gather(std::as_bytes(std::span(mine)), meeting.deadline_ns, "a test");
      ASSERT_TRUE(all.ok()) << all.status().message();
      ASSERT_EQ(all->size(), 7u);
      for (int r = 0; r < 7; ++r) {
        const auto& blob = (*all)[static_cast<size_t>(r)];
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(blob.data()), blob.size()),
                  cat(r, "/", round));
      }
    }
    EXPECT_EQ((*membership)->local_host(), "127.0.0.1");
    EXPECT_FALSE((*membership)->poll());
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "end").ok());
  });
}

TEST(Rendezvous, TwoHundredFiftySixThreads) {
  Meeting meeting(256);
  std::atomic<int> joined{0};
  run_ranks(meeting, nullptr, [&](int, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    ++joined;
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "end").ok());
  });
  EXPECT_EQ(joined, 256);
}

// All ranks of a meeting that `spoil` spoils fail alike, with these texts. What is wrong, or
// nothing.
std::string wrong_of_a_refusal(Meeting meeting, const std::function<void(JoinRequest&)>& spoil,
                               const std::vector<std::string>& texts) {
  std::mutex mutex;
  std::string wrong;
  run_ranks(meeting, spoil, [&](int rank, auto& membership) {
    const Status& status = membership.status();
    bool right = status.code() == Code::kMismatch;
    for (const std::string& text : texts) {
      right = right && status.message().find(text) != std::string::npos;
    }
    std::lock_guard lock(mutex);
    if (!right) wrong = cat("rank ", rank, " was told: ", status.message());
  });
  return wrong;
}

// The server that refused somebody is there a little longer for those who come late.
void expect_all_refused(int num_ranks, const std::function<void(JoinRequest&)>& spoil,
                        const std::vector<std::string>& texts) {
  uint64_t ms = 1'000;
  expect_soon([&] { return wrong_of_a_refusal(Meeting(num_ranks, ms *= 2), spoil, texts); });
}

TEST(Rendezvous, DisagreementsNameBothSides) {
  auto only = [](int rank, auto change) {
    return [=](JoinRequest& r) {
      if (r.rank == rank) change(r);
    };
  };
  expect_all_refused(4, only(2, [](JoinRequest& r) { r.settings = "window=8;chunk_bytes=0"; }),
                     {"rank 2", "window=8", "window=4"});
  expect_all_refused(4, only(1, [](JoinRequest& r) { r.version = 9; }),
                     {"rank 1", "version 9", "version 1"});
  expect_all_refused(4, only(3, [](JoinRequest& r) { r.num_ranks = 5; }),
                     {"rank 3", "num_ranks 5", "num_ranks 4"});
}

TEST(Rendezvous, TwoProcessesWithOneRank) {
  expect_all_refused(3, [](JoinRequest& r) { r.rank = r.rank == 2 ? 1 : r.rank; },
                     {"rank 1", "process 1", "process 2"});
}

// Ranks 0 and 2 of four join until the deadline: what is wrong with what they are told, or nothing.
std::string wrong_of_half_a_meeting(uint64_t ms) {
  Meeting meeting(4, ms);
  std::string wrong[2];
  std::vector<std::thread> threads;
  for (int rank : {0, 2}) {
    auto request = std::make_shared<JoinRequest>(meeting.request(rank));
    threads.emplace_back([request, &wrong = wrong[rank / 2]] {
      const Status status = Membership::join(std::move(*request)).status();
      const auto named = AllOf(HasSubstr("rank 1"), HasSubstr("rank 3"), Not(HasSubstr("rank 2")));
      if (status.code() != Code::kTimeout || !testing::Matches(named)(status.message())) {
        wrong = cat("rank ", request->rank, " was told: ", status.message());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return wrong[0].empty() ? wrong[1] : wrong[0];
}

// As when all ranks call hfr_comm_init_env again: the first communicator is still there, and not
// all are equally fast.
TEST(Rendezvous, TheNextOneAtItsAddressIsAnother) {
  Meeting first(3);
  Meeting second(3);
  second.secret = first.secret;
  second.listener.reset();
  second.address = first.address;
  std::atomic<int> num_there{0};
  run_ranks(first, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    JoinRequest request = second.request(rank);
    if (rank == 0) {
      auto listener = listen_tcp(first.address);
      ASSERT_TRUE(listener.ok()) << listener.status().message();
      request.listener = std::move(*listener);
    }
    auto next = Membership::join(std::move(request));
    ASSERT_TRUE(next.ok()) << next.status().message();
    EXPECT_TRUE((*membership)->barrier(patience(), "in the first").ok());
    EXPECT_TRUE((*next)->barrier(patience(), "in the second").ok());
    ++num_there;
  });
  EXPECT_EQ(num_there, 3);
}

TEST(Rendezvous, DeadlineNamesWhoDidNotCome) {
  uint64_t ms = 100;
  expect_soon([&] { return wrong_of_half_a_meeting(ms *= 3); });
}

// Long before the deadline the log tells who has not joined, and who has not come to a stage.
TEST(Rendezvous, TheLogTellsWhoIsLate) {
  Meeting meeting(2);
  const std::string path = cat(testing::TempDir(), "/late-", getpid(), ".log");
  ServerOptions options;
  options.num_ranks = 2;
  options.key = meeting.secret.derive("hfreduce rendezvous");
  options.deadline_ns = meeting.deadline_ns;
  options.tell_late_ns = 10'000'000;
  options.logger = *Logger::to_file(LogLevel::kWarn, path, "");
  auto server = RendezvousServer::start(std::move(meeting.listener), std::move(options));
  ASSERT_TRUE(server.ok());
  const auto await = [&](const std::string& text) {
    std::string log;
    while (log.find(text) == std::string::npos && monotonic_ns() < meeting.deadline_ns) {
      std::ifstream file(path);
      log.assign(std::istreambuf_iterator<char>(file), {});
    }
    EXPECT_THAT(log, HasSubstr(text));
  };
  std::thread punctual([&] {
    auto membership = Membership::join(meeting.request(1));
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "a test").ok());
  });
  await("rank 0 did not join yet");
  auto late = Membership::join(meeting.request(0));
  ASSERT_TRUE(late.ok()) << late.status().message();
  await("rank 0 (process 0) did not come to this stage yet: a test");
  EXPECT_TRUE((*late)->barrier(meeting.deadline_ns, "a test").ok());
  punctual.join();
  std::remove(path.c_str());
}

TEST(Rendezvous, DeathIsToldAtOnceAndGoodbyeIsNoDeath) {
  Meeting meeting(4);
  std::atomic<int> ready{0};
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok());
    ASSERT_TRUE((*membership)->barrier(meeting.deadline_ns, "start").ok());
    if (rank == 3) {
      (*membership)->leave();
      ++ready;
      return;
    }
    while (ready == 0) std::this_thread::yield();
    if (rank == 1) {
      // As a killed process would: the connection ends without goodbye.
      (*membership)->report(Status(Code::kInternalError, "rank 1 broke"), 1);
    }
    std::optional<Failure> failure;
    while (!failure && monotonic_ns() < meeting.deadline_ns) {
      failure = (*membership)->poll();
      std::this_thread::yield();
    }
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->rank, 1);
    EXPECT_EQ(failure->status.message(), "rank 1 broke");
  });
}

// Ranks 1 to 3 as processes, which wait until they are killed. Rank 0 notes their ends.
TEST(Rendezvous, EndsAreNotedInTheirOrder) {
  Meeting meeting(4);
  std::vector<pid_t> children;
  for (int rank = 1; rank < 4; ++rank) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto membership = Membership::join(meeting.request(rank));
    while (membership.ok()) pause();
    _exit(1);
  }
  auto membership = Membership::join(meeting.request(0));
  ASSERT_TRUE(membership.ok()) << membership.status().message();
  auto ends = std::make_unique<record::Ends>();
  (*membership)->record_ends(*ends);
  EXPECT_EQ(ends->watched, 1u);
  auto end = [&](std::vector<int> ranks) {
    const uint64_t num = ends->num + ranks.size();
    for (int rank : ranks) kill(children[static_cast<size_t>(rank) - 1], SIGKILL);
    while (ends->num < num && monotonic_ns() < meeting.deadline_ns) std::this_thread::yield();
    ASSERT_EQ(ends->num, num);
  };
  end({2});
  end({3, 1});
  EXPECT_EQ(ends->list[0].rank_plus_one, 3u);
  EXPECT_GT(ends->list[1].at_ns, ends->list[0].at_ns);
  const std::set<uint64_t> others = {ends->list[1].rank_plus_one, ends->list[2].rank_plus_one};
  EXPECT_EQ(others, (std::set<uint64_t>{2, 4}));
  for (pid_t child : children) waitpid(child, nullptr, 0);
}

// As a data loader's process does, which outlives the rank that forked it for a while.
TEST(Rendezvous, ADeathIsToldThoughAChildOfTheRankLivesOn) {
  Meeting meeting(2);
  std::array<int, 2> held{};
  ASSERT_EQ(pipe(held.data()), 0);
  UniqueFd until(held[0]);
  UniqueFd through(held[1]);
  const pid_t rank = fork();
  if (rank == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    through.reset();
    auto membership = Membership::join(meeting.request(1));
    if (!membership.ok()) _exit(1);
    if (fork() == 0) {
      std::byte byte{};
      [[maybe_unused]] const ssize_t got = read(until.get(), &byte, 1);
      _exit(0);
    }
    (void)(*membership)->barrier(meeting.deadline_ns, "the child lives");
    while (true) pause();
  }
  auto membership = Membership::join(meeting.request(0));
  ASSERT_TRUE(membership.ok()) << membership.status().message();
  EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "the child lives").ok());
  kill(rank, SIGKILL);
  waitpid(rank, nullptr, 0);
  std::optional<Failure> failure;
  while (!failure && monotonic_ns() < meeting.deadline_ns) failure = (*membership)->poll();
  ASSERT_TRUE(failure) << "nobody noticed";
  EXPECT_EQ(failure->rank, 1);
  EXPECT_THAT(failure->status.message(), HasSubstr("died"));
}

// Who says goodbye has not died.
TEST(Rendezvous, AGoodbyeIsNoEnd) {
  Meeting meeting(2);
  record::Ends ends{};
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    (*membership)->record_ends(ends);
    ASSERT_TRUE((*membership)->barrier(meeting.deadline_ns, "start").ok());
    if (rank == 1) (*membership)->leave();
    // The host stays until rank 1 is gone.
    if (rank == 0) {
      EXPECT_FALSE((*membership)->barrier(in_ms(1'000), "a meeting of one").ok());
    }
  });
  EXPECT_EQ(ends.num, 0u);
}

// 0 waits for 1, 1 for 3, 3 for 2; 2 says nothing. What is wrong with the verdict, or nothing.
std::string wrong_of_a_stall() {
  Meeting meeting(4);
  std::string wrong[4];
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    ASSERT_TRUE((*membership)->barrier(meeting.deadline_ns, "start").ok());
    if (rank != 2) {
      const int blamed = rank == 0 ? 1 : rank == 1 ? 3 : 2;
      const Failure verdict =
          (*membership)
              ->resolve_stall(
                  {blamed, WaitStage::kStarting}, 0,
                  Status(Code::kTimeout, cat("rank ", rank, " waits for rank ", blamed)));
      if (verdict.rank != 2 || verdict.status.message() != "rank 3 waits for rank 2") {
        wrong[rank] =
            cat("rank ", rank, " was told of rank ", verdict.rank, ": ", verdict.status.message());
      }
      return;
    }
    std::optional<Failure> failure;
    while (!failure && monotonic_ns() < meeting.deadline_ns) {
      failure = (*membership)->poll();
      std::this_thread::yield();
    }
    EXPECT_TRUE(failure);
  });
  return cat(wrong[0], wrong[1], wrong[3]);
}

TEST(Rendezvous, StallVerdictFollowsTheBlameToTheSilentRank) { expect_soon(wrong_of_a_stall); }

// Who lost a peer learns why it went, when somebody has told the rendezvous before.
TEST(Rendezvous, ALossIsAnsweredWithTheFirstFailure) {
  Meeting meeting(3);
  std::atomic<bool> told{false};
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    ASSERT_TRUE((*membership)->barrier(meeting.deadline_ns, "start").ok());
    if (rank == 1) {
      (*membership)->report(Status(Code::kAborted, "rank 1 gave up"), 1);
      while (!(*membership)->poll()) std::this_thread::yield();
      told = true;
    }
    while (!told) std::this_thread::yield();
    const Failure first =
        (*membership)->report_and_ask({Status(Code::kRemoteError, "lost rank 0"), 0});
    EXPECT_EQ(first.rank, 1);
    EXPECT_EQ(first.status.code(), Code::kAborted);
    EXPECT_EQ(first.status.message(), "rank 1 gave up");
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "end").code() == Code::kAborted);
  });
}

// Rank 0 as a process, which joins or does not, until it is stopped.
pid_t fork_host(Meeting& meeting, bool joins) {
  const pid_t host = fork();
  if (host != 0) return host;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::unique_ptr<Membership> membership;
  if (joins) membership = std::move(*Membership::join(meeting.request(0)));
  while (true) pause();
}

void stop(pid_t host) {
  kill(host, SIGSTOP);
  waitpid(host, nullptr, WUNTRACED);
}

TEST(SilentHost, JoiningEndsAtTheDeadlineAndNamesIt) {
  Meeting meeting(2, 500);
  const pid_t host = fork_host(meeting, false);
  stop(host);
  const Status status = Membership::join(meeting.request(1)).status();
  EXPECT_EQ(status.code(), Code::kTimeout) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("the rendezvous (rank 0's"));
  kill(host, SIGKILL);
  waitpid(host, nullptr, 0);
}

TEST(SilentHost, SetUpAndOperationsEndAtTheirDeadlinesAndNameIt) {
  Meeting meeting(2);
  const pid_t host = fork_host(meeting, true);
  auto membership = Membership::join(meeting.request(1));
  ASSERT_TRUE(membership.ok()) << membership.status().message();
  stop(host);
  const Status set_up = (*membership)->barrier(in_ms(300), "a stage of set-up");
  EXPECT_EQ(set_up.code(), Code::kTimeout);
  EXPECT_EQ(set_up.message(),
            "a stage of set-up: rank 0, which hosts the rendezvous, does not answer");
  // In an operation: at the deadline, and when a peer was lost.
  const Failure stall = (*membership)
                            ->resolve_stall({0, WaitStage::kStarting}, 0,
                                            Status(Code::kTimeout, "waited for rank 0"));
  EXPECT_EQ(stall.rank, 0);
  EXPECT_EQ(stall.status.code(), Code::kTimeout);
  EXPECT_THAT(stall.status.message(), HasSubstr("rank 0, which hosts the rendezvous, does not"));
  const Failure loss =
      (*membership)->report_and_ask({Status(Code::kRemoteError, "lost rank 0"), 0});
  EXPECT_EQ(loss.rank, 0);
  EXPECT_THAT(loss.status.message(), HasSubstr("rank 0, which hosts the rendezvous, does not"));
  kill(host, SIGKILL);
  waitpid(host, nullptr, 0);
}

}  // namespace
}  // namespace hfr
