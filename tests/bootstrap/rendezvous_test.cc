// Joining, exchange, the control plane, hostile peers.
#include "bootstrap/rendezvous.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/text.hpp"
#include "bootstrap/launch_env.hpp"
#include "bootstrap/unique_id.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

uint64_t in_ms(uint64_t ms) { return monotonic_ns() + ms * 1'000'000; }

// A rendezvous on loopback and what its members have in common.
struct Meeting {
  explicit Meeting(int ranks, uint64_t ms = 20'000) : num_ranks(ranks), deadline_ns(in_ms(ms)) {
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

// All ranks fail alike; the sentence names both sides.
void expect_all_refused(const std::function<void(JoinRequest&)>& spoil,
                        const std::vector<std::string>& texts) {
  Meeting meeting(4);
  run_ranks(meeting, spoil, [&](int rank, auto& membership) {
    ASSERT_FALSE(membership.ok()) << rank;
    EXPECT_EQ(membership.status().code(), Code::kMismatch);
    for (const std::string& text : texts)
      EXPECT_THAT(membership.status().message(), HasSubstr(text));
  });
}

TEST(Rendezvous, DisagreementsNameBothSides) {
  auto only = [](int rank, auto change) {
    return [=](JoinRequest& r) {
      if (r.rank == rank) change(r);
    };
  };
  expect_all_refused(only(2, [](JoinRequest& r) { r.settings = "window=8;chunk_bytes=0"; }),
                     {"rank 2", "window=8", "window=4"});
  expect_all_refused(only(1, [](JoinRequest& r) { r.version = 9; }),
                     {"rank 1", "version 9", "version 1"});
  expect_all_refused(only(3, [](JoinRequest& r) { r.num_ranks = 5; }),
                     {"rank 3", "num_ranks 5", "num_ranks 4"});
}

TEST(Rendezvous, TwoProcessesWithOneRank) {
  Meeting meeting(3);
  run_ranks(
      meeting, [](JoinRequest& r) { r.rank = r.rank == 2 ? 1 : r.rank; },
      [&](int, auto& membership) {
        ASSERT_FALSE(membership.ok());
        EXPECT_THAT(membership.status().message(),
                    AllOf(HasSubstr("rank 1"), HasSubstr("process 1"), HasSubstr("process 2")));
      });
}

TEST(Rendezvous, DeadlineNamesWhoDidNotCome) {
  Meeting meeting(4, 300);
  std::vector<std::thread> threads;
  for (int rank : {0, 2}) {
    auto request = std::make_shared<JoinRequest>(meeting.request(rank));
    threads.emplace_back([request] {
      auto membership = Membership::join(std::move(*request));
      EXPECT_EQ(membership.status().code(), Code::kTimeout);
      EXPECT_THAT(membership.status().message(),
                  AllOf(HasSubstr("rank 1"), HasSubstr("rank 3"), Not(HasSubstr("rank 2"))));
    });
  }
  for (std::thread& thread : threads) thread.join();
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

TEST(Rendezvous, StallVerdictFollowsTheBlameToTheSilentRank) {
  Meeting meeting(4);
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok());
    ASSERT_TRUE((*membership)->barrier(meeting.deadline_ns, "start").ok());
    if (rank != 2) {
      // 0 waits for 1, 1 for 3, 3 for 2; 2 says nothing.
      int blamed = rank == 0 ? 1 : rank == 1 ? 3 : 2;
      Failure verdict =
          (*membership)
              ->resolve_stall(
                  blamed, Status(Code::kTimeout, cat("rank ", rank, " waits for rank ", blamed)));
      EXPECT_EQ(verdict.rank, 2);
      EXPECT_THAT(verdict.status.message(), HasSubstr("rank 3 waits for rank 2"));
      return;
    }
    std::optional<Failure> failure;
    while (!failure && monotonic_ns() < meeting.deadline_ns) failure = (*membership)->poll();
    EXPECT_TRUE(failure);
  });
}

UniqueFd connect_raw(const HostPort& address) {
  auto fd = connect_tcp(address, "", in_ms(5000));
  EXPECT_TRUE(fd.ok());
  return std::move(*fd);
}

bool closed_by_peer(int fd) {
  std::array<std::byte, 4096> rest{};
  return recv_all(fd, rest, in_ms(20'000), "waiting for the end").code() == Code::kRemoteError;
}

TEST(Hostile, StrangersAreDroppedWhileTheJobGoesOn) {
  Meeting meeting(3);
  HostPort address = meeting.address;
  std::vector<UniqueFd> strangers;
  // Before anybody joins: one that says nothing, one that talks rubbish, one with a huge frame,
  // half a hello.
  for (int i = 0; i < 4; ++i) strangers.push_back(connect_raw(address));
  std::vector<std::byte> rubbish(kHelloBytes, std::byte{0x55});
  ASSERT_TRUE(send_all(strangers[1].get(), rubbish, in_ms(1000), "rubbish").ok());
  std::vector<std::byte> huge(64, std::byte{0xff});
  ASSERT_TRUE(send_all(strangers[2].get(), huge, in_ms(1000), "huge").ok());
  ASSERT_TRUE(send_all(strangers[3].get(), std::span(rubbish).first(10), in_ms(1000), "half").ok());
  run_ranks(meeting, nullptr, [&](int rank, auto& membership) {
    ASSERT_TRUE(membership.ok()) << membership.status().message();
    if (rank == 0) {
      EXPECT_TRUE(closed_by_peer(strangers[1].get()));
      EXPECT_TRUE(closed_by_peer(strangers[2].get()));
      // A wrong secret.
      UniqueFd liar = connect_raw(address);
      SecretHandshake wrong(Secret::random(), "hfreduce rendezvous", 1);
      EXPECT_FALSE(wrong.run(liar.get(), Handshake::Side::kConnecting, in_ms(5000)).ok());
    }
    EXPECT_TRUE((*membership)->barrier(meeting.deadline_ns, "end").ok());
    EXPECT_FALSE((*membership)->poll());
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
    auto rank = honest.run(theirs.get(), Handshake::Side::kConnecting, in_ms(5000));
    EXPECT_TRUE(rank.ok());
  });
  std::vector<std::vector<std::byte>> recorded;
  while (!first.done()) {
    recorded.emplace_back(first.wants());
    ASSERT_TRUE(recv_all(mine.get(), recorded.back(), in_ms(5000), "recording").ok());
    auto answer = first.feed(recorded.back());
    ASSERT_TRUE(answer.ok());
    ASSERT_TRUE(send_all(mine.get(), *answer, in_ms(5000), "answering").ok());
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
