// Strangers, members that break the rules, a machine without descriptors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "bootstrap/messages.hpp"
#include "joining.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

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

// Fewer may be open than are: the server hears the members all the same, and ends.
TEST(Hostile, ALimitBelowTheServersConnectionsLosesNoMember) {
  Meeting meeting(4);
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    const rlimit few{1, usual.rlim_max};
    if (rank == 0) {
      EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    }
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "a stage").ok());
    membership->reset();
  });
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
  EXPECT_LT(monotonic_ns(), meeting.deadline_ns);
}

}  // namespace
}  // namespace hfr
