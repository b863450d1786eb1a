// Joining, exchange, the control plane, hostile peers.
#include "bootstrap/rendezvous.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "base/text.hpp"
#include "bootstrap/launch_env.hpp"
#include "bootstrap/messages.hpp"
#include "bootstrap/unique_id.hpp"

namespace hfr {
namespace {

void note_refused_accept();

}  // namespace
}  // namespace hfr

// In place of the C library's, in this program.
extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  const long accepted = syscall(SYS_accept4, fd, address, size, flags);
  if (accepted < 0 && errno == EMFILE) {
    hfr::note_refused_accept();
    errno = EMFILE;
  }
  return static_cast<int>(accepted);
}

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

uint64_t in_ms(uint64_t ms) { return monotonic_ns() + ms * 1'000'000; }

// For what comes, however slow the machine is.
constexpr uint64_t kPatienceMs = 100'000;
uint64_t patience() { return in_ms(kPatienceMs); }

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

// A rendezvous on loopback and what its members have in common.
struct Meeting {
  explicit Meeting(int ranks, uint64_t ms = kPatienceMs)
      : num_ranks(ranks), deadline_ns(in_ms(ms)) {
    listener = std::move(*listen_tcp({"127.0.0.1", 0}));
    address = *local_address(listener.get());
  }
  JoinRequest request(int rank) {
    JoinRequest r;
    r.rank = rank;
    r.num_ranks = num_ranks;
    r.address = address;
    r.secret = secret;
    if (rank == 0) r.listener = std::move(listener);
    r.settings = "window=4;chunk_bytes=0";
    r.version = 1;
    r.label = cat("process ", rank);
    r.deadline_ns = deadline_ns;
    r.logger = Logger(LogLevel::kOff, "");
    return r;
  }

  int num_ranks;
  uint64_t deadline_ns;
  UniqueFd listener;
  HostPort address;
  Secret secret = Secret::random();
};

// Every rank as a thread; `change` may spoil a request.
void run_ranks(Meeting& meeting, const std::function<void(JoinRequest&)>& change,
               const std::function<void(int, Result<std::unique_ptr<Membership>>&)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < meeting.num_ranks; ++rank) {
    JoinRequest request = meeting.request(rank);
    if (change) change(request);
    auto held = std::make_shared<JoinRequest>(std::move(request));
    threads.emplace_back([&, rank, held] {
      auto membership = Membership::join(std::move(*held));
      body(rank, membership);
    });
  }
  for (std::thread& thread : threads) thread.join();
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

UniqueFd connect_raw(const HostPort& address) {
  auto fd = connect_tcp(address, "", patience());
  EXPECT_TRUE(fd.ok());
  return std::move(*fd);
}

bool closed_by_peer(int fd) {
  std::array<std::byte, 4096> rest{};
  return recv_all(fd, rest, patience(), "waiting for the end").code() == Code::kRemoteError;
}

TEST(Hostile, StrangersAreDroppedWhileTheJobGoesOn) {
  Meeting meeting(3);
  HostPort address = meeting.address;
  std::vector<UniqueFd> strangers;
  // Before anybody joins: one that says nothing, one that talks rubbish, one with a huge frame,
  // half a hello, one with another secret.
  for (int i = 0; i < 5; ++i) strangers.push_back(connect_raw(address));
  std::vector<std::byte> rubbish(kHelloBytes, std::byte{0x55});
  ASSERT_TRUE(send_all(strangers[1].get(), rubbish, patience(), "rubbish").ok());
  std::vector<std::byte> huge(64, std::byte{0xff});
  ASSERT_TRUE(send_all(strangers[2].get(), huge, patience(), "huge").ok());
  ASSERT_TRUE(send_all(strangers[3].get(), std::span(rubbish).first(10), patience(), "half").ok());
  std::thread liar([&] {
    SecretHandshake wrong(Secret::random(), "hfreduce rendezvous", 1);
    EXPECT_FALSE(wrong.run(strangers[4].get(), Handshake::Side::kConnecting, patience()).ok());
  });
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    if (rank == 0) {
      EXPECT_TRUE(closed_by_peer(strangers[1].get()));
      EXPECT_TRUE(closed_by_peer(strangers[2].get()));
      liar.join();
      // Nobody comes in any more.
      auto late = connect_once(address, "", patience());
      ASSERT_TRUE(late.ok()) << late.status().message();
      EXPECT_FALSE(*late);
    }
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "end").ok());
    EXPECT_FALSE((*membership)->poll());
  });
}

// A member that says what none says is not dead, and is told of as what it is, to itself, too.
// Rank 1 of two, up to where all have joined; from there on the test speaks for it.
UniqueFd join_by_hand(Meeting& meeting, const std::string& label) {
  UniqueFd fd = connect_raw(meeting.address);
  SecretHandshake handshake(meeting.secret, "hfreduce rendezvous", 1);
  EXPECT_TRUE(handshake.run(fd.get(), Handshake::Side::kConnecting, patience()).ok());
  const JoinRequest honest = meeting.request(1);
  for (const auto& message :
       {framed({std::string(1, rendezvous::kJoin), "1", "1", "2", honest.settings, label}),
        framed({std::string(1, rendezvous::kGather), "joining", "100000", ""})}) {
    EXPECT_TRUE(send_all(fd.get(), message, patience(), "joining").ok());
  }
  auto all_here = recv_frame(fd.get(), 1 << 20, patience(), "being there");
  EXPECT_TRUE(all_here.ok()) << all_here.status().message();
  return fd;
}

TEST(Hostile, AMemberThatBreaksTheProtocolIsNamedForThat) {
  const std::vector<std::vector<std::byte>> rubbish = {
      framed({"?"}),                                      // no such kind
      framed({std::string(1, rendezvous::kStall), "5"}),  // fields are missing
      std::vector<std::byte>(8, std::byte{0xff})};        // longer than any frame
  for (const auto& bytes : rubbish) {
    Meeting meeting(2);
    std::thread odd([&] {
      const UniqueFd fd = join_by_hand(meeting, "odd");
      ASSERT_TRUE(send_all(fd.get(), bytes, patience(), "rubbish").ok());
      auto told = recv_frame(fd.get(), 1 << 20, patience(), "being told");
      ASSERT_TRUE(told.ok()) << told.status().message();
      auto message = rendezvous::read_server_message(*told, 2);
      ASSERT_TRUE(message && std::holds_alternative<rendezvous::Verdict>(*message));
      EXPECT_EQ(std::get<rendezvous::Verdict>(*message).failure.rank, 1);
    });
    auto membership = Membership::join(meeting.request(0));
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    std::optional<Failure> failure;
    while (!failure && monotonic_ns() < meeting.deadline_ns) failure = (*membership)->poll();
    odd.join();
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->rank, 1);
    EXPECT_EQ(failure->status.code(), Code::kInternalError);
    EXPECT_THAT(failure->status.message(),
                AllOf(HasSubstr("rank 1 (odd) broke the protocol of the rendezvous: a frame"),
                      HasSubstr("the same build"), Not(HasSubstr("died"))));
  }
}

// A member that takes part in a meeting and then fails: when the others come to the meeting all of
// them hear of the failure, and none is told that all were there.
TEST(Hostile, NothingIsGatheredAfterAFailure) {
  Meeting meeting(2);
  std::thread failing([&] {
    const UniqueFd fd = join_by_hand(meeting, "failing");
    for (const auto& message :
         {framed({std::string(1, rendezvous::kGather), "meeting", "100000", ""}),
          framed({std::string(1, rendezvous::kReport), "6", "1", "it failed"})}) {
      ASSERT_TRUE(send_all(fd.get(), message, patience(), "failing").ok());
    }
    std::vector<std::string> told;
    while (true) {
      auto frame = recv_frame(fd.get(), 1 << 20, patience(), "being told");
      if (!frame.ok()) break;
      auto message = rendezvous::read_server_message(*frame, 2);
      ASSERT_TRUE(message);
      if (std::holds_alternative<rendezvous::GatheredBlobs>(*message))
        told.emplace_back("all here");
      if (std::holds_alternative<rendezvous::Verdict>(*message)) told.emplace_back("failure");
    }
    EXPECT_THAT(told, testing::ElementsAre("failure"));
  });
  auto membership = Membership::join(meeting.request(0));
  ASSERT_TRUE(membership.ok()) << membership.status().message();
  while (!(*membership)->poll() && monotonic_ns() < meeting.deadline_ns) std::this_thread::yield();
  const Status met = (*membership)->barrier(meeting.deadline_ns, "meeting");
  EXPECT_EQ(met.message(), "it failed");
  membership->reset();
  failing.join();
}

TEST(Hostile, AServerThatBreaksTheProtocolIsNamedForThat) {
  for (const auto& bytes : {framed({"?"}), std::vector<std::byte>(8, std::byte{0xff})}) {
    Meeting meeting(2);
    const JoinRequest host = meeting.request(0);
    std::thread odd([&] {
      auto fd = accept_tcp(host.listener.get(), patience());
      ASSERT_TRUE(fd.ok());
      ProvenStream stream(std::move(*fd), meeting.secret.derive("hfreduce rendezvous"), 0);
      while (!stream.proven() && monotonic_ns() < meeting.deadline_ns) {
        stream.receive();
        ASSERT_TRUE(stream.next_frame(rendezvous::kMaxMemberFrame).ok());
      }
      stream.send(bytes);
      // Until the other side has gone.
      while (stream.open() && monotonic_ns() < meeting.deadline_ns) stream.receive();
    });
    const Status status = Membership::join(meeting.request(1)).status();
    EXPECT_EQ(status.code(), Code::kInternalError);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 0, which hosts it, broke the protocol"),
                                        HasSubstr("the same build"), Not(HasSubstr("died"))));
    odd.join();
  }
}

// What accept4 below has seen.
struct Accepts {
  std::atomic<int> refused{0};
  std::atomic<uint64_t> first_ns{0};
  std::atomic<uint64_t> last_ns{0};
};
Accepts g_accepts;

void note_refused_accept() {
  g_accepts.last_ns = monotonic_ns();
  if (g_accepts.refused++ == 0) g_accepts.first_ns = g_accepts.last_ns.load();
}

// Without descriptors the server lets the members wait, and tries again every 100 ms.
TEST(Hostile, ManyDescriptorsElsewhereLoseNoMember) {
  Meeting meeting(2);
  auto fd = ConnectAttempt::begin(meeting.address, "");
  ASSERT_TRUE(fd.ok());
  const UniqueFd early = fd->release();  // connected, in the listener's queue
  ServerOptions options;
  options.num_ranks = 2;
  options.key = meeting.secret.derive("hfreduce rendezvous");
  options.deadline_ns = meeting.deadline_ns;
  options.logger = Logger(LogLevel::kOff, "");
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
  {
    // One for the server's own; then there are none.
    const UniqueFd own(dup(early.get()));
    const UniqueFd next(dup(early.get()));
    const rlimit none{static_cast<rlim_t>(next.get()), usual.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  g_accepts.refused = 0;
  auto started = RendezvousServer::start(std::move(meeting.listener), std::move(options));
  while (g_accepts.refused < 4 && monotonic_ns() < meeting.deadline_ns) std::this_thread::yield();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
  ASSERT_TRUE(started.ok());
  ASSERT_GE(g_accepts.refused, 4);
  EXPECT_GE(g_accepts.last_ns - g_accepts.first_ns, 300'000'000u) << "it spins";
  SecretHandshake handshake(meeting.secret, "hfreduce rendezvous", 1);
  EXPECT_TRUE(handshake.run(early.get(), Handshake::Side::kConnecting, patience()).ok());
  run_ranks(meeting, nullptr, [&](int, auto& membership) {
    EXPECT_TRUE(membership.ok()) << membership.status().message();
  });
}

TEST(Hostile, ReplayedProofIsRefused) {
  Secret secret = Secret::random();
  SecretHandshake honest(secret, "test", 4);
  AcceptingHandshake first(secret.derive("test"), 0);
  // Plays the accepting side by hand and records what the honest member sends.
  std::array<int, 2> pair{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  UniqueFd mine(pair[0]);
  UniqueFd theirs(pair[1]);
  std::thread member([&] {
    auto rank = honest.run(theirs.get(), Handshake::Side::kConnecting, patience());
    EXPECT_TRUE(rank.ok());
  });
  std::vector<std::vector<std::byte>> recorded;
  while (!first.done()) {
    recorded.emplace_back(first.wants());
    ASSERT_TRUE(recv_all(mine.get(), recorded.back(), patience(), "recording").ok());
    auto answer = first.feed(recorded.back());
    ASSERT_TRUE(answer.ok());
    ASSERT_TRUE(send_all(mine.get(), *answer, patience(), "answering").ok());
  }
  member.join();
  EXPECT_EQ(first.peer_rank(), 4);
  AcceptingHandshake second(secret.derive("test"), 0);
  ASSERT_TRUE(second.feed(recorded[0]).ok());
  EXPECT_FALSE(second.feed(recorded[1]).ok());
  // Nor does a proof for one purpose, or a reflected answer, serve for another.
  AcceptingHandshake other(secret.derive("another"), 0);
  auto answer = other.feed(recorded[0]);
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(other.feed(std::span(*answer).subspan(kHelloBytes)).ok());
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

TEST(UniqueId, RoundTripAndDamage) {
  UniqueId id;
  id.address = {"192.168.1.20", 4321};
  id.secret = Secret::random();
  auto bytes = encode_unique_id(id);
  auto back = decode_unique_id(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(text(back->address), "192.168.1.20:4321");
  EXPECT_EQ(back->secret.bytes(), id.secret.bytes());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{1};
    EXPECT_FALSE(decode_unique_id(damaged).ok()) << i;
  }
}

LaunchInfo launch(std::vector<std::pair<std::string, std::string>> values,
                  Status* failure = nullptr) {
  auto info = read_launch_info([&](const std::string& name) -> std::optional<std::string> {
    for (const auto& [key, value] : values) {
      if (key == name) return value;
    }
    return std::nullopt;
  });
  if (failure != nullptr) *failure = info.status();
  return info.ok() ? *info : LaunchInfo{};
}

TEST(LaunchEnvironment, EveryFamily) {
  EXPECT_EQ(launch({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}}).local_rank, 1);
  EXPECT_EQ(launch({{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}}).rank, 2);
  EXPECT_EQ(launch({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}).num_ranks, 2);
  EXPECT_EQ(launch({{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "6"}, {"SLURM_LOCALID", "0"}}).rank, 5);
}

TEST(LaunchEnvironment, BadValuesNameVariableValueAndWhatIsAllowed) {
  Status failure;
  launch({}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("RANK and WORLD_SIZE"));
  launch({{"RANK", "3"}}, &failure);
  EXPECT_THAT(failure.message(), AllOf(HasSubstr("RANK is set"), HasSubstr("WORLD_SIZE is not")));
  launch({{"RANK", "8"}, {"WORLD_SIZE", "8"}}, &failure);
  EXPECT_THAT(failure.message(), AllOf(HasSubstr("RANK=8"), HasSubstr("0 to 7")));
  launch({{"RANK", "x"}, {"WORLD_SIZE", "8"}}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("RANK=x"));
  launch({{"RANK", "0"}, {"WORLD_SIZE", "0"}}, &failure);
  EXPECT_THAT(failure.message(), HasSubstr("WORLD_SIZE=0"));
}

}  // namespace
}  // namespace hfr
