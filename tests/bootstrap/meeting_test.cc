// Survivors that meet, as threads: gone, silent, late and excluded ranks, and conveners that die
// half-way.
#include "bootstrap/meeting.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/pack.hpp"
#include "base/text.hpp"
#include "bootstrap/meeting_messages.hpp"

namespace hfr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

uint64_t in_ms(uint64_t ms) { return monotonic_ns() + ms * 1'000'000; }

// The ranks of one communicator. A rank without a line is gone: its meeting point is closed.
struct World {
  explicit World(int ranks) {
    Secret secret = Secret::random();
    lines.resize(static_cast<size_t>(ranks));
    std::vector<HostPort> addresses;
    for (Line& line : lines) {
      line.point = *MeetingPoint::open("127.0.0.1", ranks);
      addresses.push_back(line.point->address);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      Line& line = lines[static_cast<size_t>(rank)];
      line.self = rank;
      line.secret = secret;
      line.addresses = addresses;
      for (int member = 0; member < ranks; ++member) line.members.push_back(member);
    }
  }
  Line& of(int rank) { return lines[static_cast<size_t>(rank)]; }
  void kill(int rank) { of(rank).point.reset(); }
  MeetingRequest request(uint64_t ms, std::set<int> excluded = {}) {
    MeetingRequest r;
    r.excluded = std::move(excluded);
    for (int rank = 0; rank < static_cast<int>(lines.size()); ++rank) r.callers.push_back(rank);
    r.purpose = purpose;
    r.deadline_ns = in_ms(ms);
    r.logger = Logger(LogLevel::kOff, "");
    return r;
  }
  // All of `ranks` meet; their answers in that order.
  std::vector<Result<Gathered>> meet(const std::vector<int>& ranks, uint64_t ms = 20'000,
                                     std::set<int> excluded = {}) {
    std::vector<Result<Gathered>> answers;
    for (size_t i = 0; i < ranks.size(); ++i) {
      answers.emplace_back(Status(Code::kInternalError, "none"));
    }
    std::vector<std::thread> threads;
    for (size_t i = 0; i < ranks.size(); ++i) {
      threads.emplace_back([&, i] { answers[i] = hfr::meet(of(ranks[i]), request(ms, excluded)); });
    }
    for (std::thread& thread : threads) thread.join();
    return answers;
  }

  // For meetings with silent ranks, which use their time up: in a longer one, should the threads
  // of a short one have come too far apart.
  std::vector<Result<Gathered>> meet_in_growing_time(const std::vector<int>& ranks) {
    std::vector<Result<Gathered>> answers;
    for (uint64_t ms : {1'000, 10'000, 40'000}) {
      answers = meet(ranks, ms);
      if (std::all_of(answers.begin(), answers.end(), [](auto& answer) { return answer.ok(); })) {
        break;
      }
    }
    return answers;
  }

  std::vector<Line> lines;
  MeetingPurpose purpose = MeetingPurpose::kShrink;  // of requests to come
};

void expect_agreed(World& world, const std::vector<int>& ranks,
                   const std::vector<Result<Gathered>>& answers) {
  for (size_t i = 0; i < ranks.size(); ++i) {
    ASSERT_TRUE(answers[i].ok()) << "rank " << ranks[i] << ": " << answers[i].status().message();
    EXPECT_EQ(world.of(ranks[i]).members, ranks);
    EXPECT_EQ(world.of(ranks[i]).id, world.of(ranks[0]).id);
    EXPECT_EQ(answers[i]->members.size(), i == 0 ? ranks.size() : 0);
  }
}

TEST(Meeting, WhoeverIsGoneTheOthersAgree) {
  for (int gone = 0; gone < 1 << 4; ++gone) {
    World world(4);
    std::vector<int> left;
    for (int rank = 0; rank < 4; ++rank) {
      if ((gone >> rank & 1) != 0) {
        world.kill(rank);
      } else {
        left.push_back(rank);
      }
    }
    SCOPED_TRACE(gone);
    auto answers = world.meet(left);
    expect_agreed(world, left, answers);
  }
}

TEST(Meeting, AgainAndAgain) {
  World world(5);
  for (int gone : {0, 3, 1}) {
    world.kill(gone);
    std::vector<int> left;
    for (int rank = 0; rank < 5; ++rank) {
      if (world.of(rank).point != nullptr) left.push_back(rank);
    }
    auto answers = world.meet(left);
    expect_agreed(world, left, answers);
  }
}

TEST(Meeting, MostGoOnWithoutTheSilentWhoComesInVain) {
  World world(3);
  auto answers = world.meet_in_growing_time({1, 2});
  expect_agreed(world, {1, 2}, answers);
  answers = world.meet({0}, 100);
  EXPECT_EQ(answers[0].status().code(), Code::kTimeout);
}

TEST(Meeting, TheSilentAreNotOutvotedByFew) {
  World world(4);
  auto answers = world.meet({2}, 100);
  EXPECT_EQ(answers[0].status().code(), Code::kTimeout);
  EXPECT_THAT(answers[0].status().message(), HasSubstr("nothing was heard of rank 0, 1, 3"));
  // Half needs rank 0.
  answers = world.meet({2, 3}, 200);
  for (auto& answer : answers) EXPECT_EQ(answer.status().code(), Code::kTimeout);
  answers = world.meet_in_growing_time({0, 3});
  expect_agreed(world, {0, 3}, answers);
}

TEST(Meeting, TheCallersWordCountsForDeath) {
  World world(4);
  auto answers = world.meet({2, 3}, 20'000, {0, 1});
  expect_agreed(world, {2, 3}, answers);
  answers = world.meet({0}, 100);
  EXPECT_FALSE(answers[0].ok());
}

TEST(Meeting, WhoWasExcludedByOneIsTurnedAway) {
  World world(3);
  std::vector<Status> ends(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      const std::set<int> excluded = rank == 0 ? std::set<int>{2} : std::set<int>{};
      // Rank 2 may come when the others are through.
      const MeetingRequest request = world.request(rank == 2 ? 500 : 20'000, excluded);
      ends[static_cast<size_t>(rank)] = meet(world.of(rank), request).status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ends[0].ok() && ends[1].ok()) << ends[0].message() << ends[1].message();
  EXPECT_FALSE(ends[2].ok());
  EXPECT_THAT(world.of(1).members, ElementsAre(0, 1));
}

// A member that ends while others are waited for.
TEST(Meeting, DeathDuringTheMeetingIsNoticed) {
  World world(4);
  std::atomic<bool> came{false};
  std::thread victim([&] {
    // Comes to rank 0 and is gone again.
    auto fd = connect_once(world.of(0).addresses[0], "127.0.0.1", in_ms(20'000));
    SecretHandshake handshake(world.of(3).secret, meeting::kPurpose, 3);
    EXPECT_TRUE(handshake.run((*fd)->get(), Handshake::Side::kConnecting, in_ms(20'000)).ok());
    EXPECT_TRUE(send_frame((*fd)->get(),
                           pack({std::string(1, meeting::kCome), Line::kFirst, "20000", "",
                                 encode(std::span<const Decision>()), "s"}),
                           in_ms(20'000), "coming")
                    .ok());
    fd->reset();
    world.kill(3);
    came = true;
  });
  std::thread last([&] {
    while (!came) std::this_thread::yield();
    EXPECT_TRUE(meet(world.of(2), world.request(20'000)).ok());
  });
  auto answers = world.meet({0, 1});
  victim.join();
  last.join();
  for (auto& answer : answers) ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_THAT(world.of(0).members, ElementsAre(0, 1, 2));
}

// Rank 0 decides, tells only rank 2, and dies. Rank 2 goes on from that decision, which it brings
// to the others.
TEST(Meeting, AConvenerThatDiesHalfWayLeavesNobodyBehind) {
  World world(4);
  const Decision decision = world.of(0).decide({0, 1, 2, 3});
  ASSERT_TRUE(world.of(2).follow({&decision, 1}).ok());
  world.kill(0);
  auto answers = world.meet({1, 2, 3});
  expect_agreed(world, {1, 2, 3}, answers);
  EXPECT_EQ(world.of(1).history.front().id, decision.id);
  EXPECT_EQ(world.of(3).history.size(), 2u);
}

// The same, when the one who knows is the lowest.
TEST(Meeting, TheConvenerTellsOfADecisionThatOthersMissed) {
  World world(4);
  const Decision decision = world.of(0).decide({0, 1, 2});
  ASSERT_TRUE(world.of(1).follow({&decision, 1}).ok());
  world.kill(0);
  Status convened;
  std::thread convener([&] { convened = meet(world.of(1), world.request(20'000)).status(); });
  auto left_out = world.meet({3});
  EXPECT_EQ(left_out[0].status().code(), Code::kRemoteError) << left_out[0].status().message();
  world.kill(3);  // it starts anew; two of four are not enough while it lives
  auto told = world.meet({2});
  convener.join();
  EXPECT_TRUE(convened.ok() && told[0].ok()) << convened.message() << told[0].status().message();
  EXPECT_THAT(world.of(2).members, ElementsAre(1, 2));
  EXPECT_EQ(world.of(2).id, world.of(1).id);
}

// Rank 2 was counted in {0, 1, 2}, did not hear of it, and is in {2, 3, 4} now. Rank 1 heard.
TEST(Meeting, WhatIsLeftOfADecisionIsNoChildBesideAnother) {
  World world(5);
  const Decision decision = world.of(0).decide({0, 1, 2});
  ASSERT_TRUE(world.of(1).follow({&decision, 1}).ok());
  world.kill(0);
  expect_agreed(world, {2, 3, 4}, world.meet_in_growing_time({2, 3, 4}));
  world.kill(2);
  auto answers = world.meet({1}, 100);
  EXPECT_EQ(answers[0].status().code(), Code::kTimeout) << answers[0].status().message();
  EXPECT_THAT(answers[0].status().message(), HasSubstr("nothing was heard of rank 3, 4"));
  // As soon as nobody can be in another one, it is.
  world.kill(3);
  world.kill(4);
  expect_agreed(world, {1}, world.meet({1}));
}

TEST(Meeting, WhoComesTwiceIsHeardOnItsLastConnection) {
  World world(3);
  std::vector<std::thread> threads;
  std::vector<Status> ends(3);
  const auto comes = [&](int rank) {
    threads.emplace_back([&, rank] {
      ends[static_cast<size_t>(rank)] = meet(world.of(rank), world.request(20'000)).status();
    });
  };
  comes(0);
  auto first = connect_once(world.of(0).addresses[0], "127.0.0.1", in_ms(20'000));
  SecretHandshake handshake(world.of(1).secret, meeting::kPurpose, 1);
  EXPECT_TRUE(handshake.run((*first)->get(), Handshake::Side::kConnecting, in_ms(20'000)).ok());
  EXPECT_TRUE(send_frame((*first)->get(),
                         pack({std::string(1, meeting::kCome), Line::kFirst, "20000", "",
                               encode(std::span<const Decision>()), "s"}),
                         in_ms(20'000), "coming")
                  .ok());
  comes(1);
  // The first one ends, while rank 2 is waited for.
  std::byte heard{};
  EXPECT_EQ(recv_all((*first)->get(), {&heard, 1}, in_ms(20'000), "hearing").code(),
            Code::kRemoteError);
  comes(2);
  for (std::thread& thread : threads) thread.join();
  for (const Status& end : ends) EXPECT_TRUE(end.ok()) << end.message();
}

// A deadline that no clock reaches brings the meeting's no nearer: the others are waited for.
TEST(Meeting, AnEndlessDeadlineEndsNoMeeting) {
  World world(4);
  std::vector<Result<Gathered>> answers;
  std::thread first([&] { answers = world.meet({0, 1}, 100'000); });
  auto fd = connect_once(world.of(0).addresses[0], "127.0.0.1", in_ms(100'000));
  SecretHandshake handshake(world.of(3).secret, meeting::kPurpose, 3);
  EXPECT_TRUE(handshake.run((*fd)->get(), Handshake::Side::kConnecting, in_ms(100'000)).ok());
  const std::string endless = "18446744073709551615";
  EXPECT_TRUE(send_frame((*fd)->get(),
                         pack({std::string(1, meeting::kCome), Line::kFirst, endless, "",
                               encode(std::span<const Decision>()), "s"}),
                         in_ms(100'000), "coming")
                  .ok());
  std::byte decided{};
  EXPECT_EQ(recv_all((*fd)->get(), {&decided, 1}, in_ms(300), "a decision").code(), Code::kTimeout);
  EXPECT_TRUE(meet(world.of(2), world.request(100'000)).ok());
  first.join();
  EXPECT_THAT(world.of(0).members, ElementsAre(0, 1, 2, 3));
}

TEST(Meeting, StrangersAtTheDoorChangeNothing) {
  World world(3);
  std::vector<UniqueFd> strangers;
  for (int i = 0; i < 4; ++i) {
    strangers.push_back(std::move(*connect_tcp(world.of(0).addresses[0], "", in_ms(5000))));
  }
  std::vector<std::byte> rubbish(kHelloBytes, std::byte{0x55});
  ASSERT_TRUE(send_all(strangers[1].get(), rubbish, in_ms(20'000), "rubbish").ok());
  ASSERT_TRUE(
      send_all(strangers[2].get(), std::span(rubbish).first(7), in_ms(20'000), "half").ok());
  auto answers = world.meet({0, 1, 2});
  expect_agreed(world, {0, 1, 2}, answers);
}

struct ResumeMeeting : World {
  explicit ResumeMeeting(int ranks) : World(ranks) { purpose = MeetingPurpose::kResume; }
};

TEST(MeetingToResume, AllComeAgainAndAgain) {
  for (int ranks : {1, 2, 5}) {
    ResumeMeeting world(ranks);
    std::vector<int> all;
    for (int rank = 0; rank < ranks; ++rank) all.push_back(rank);
    std::string id = Line::kFirst;
    for (int time = 0; time < 3; ++time) {
      expect_agreed(world, all, world.meet(all));
      EXPECT_NE(world.of(0).id, id);
      id = world.of(0).id;
    }
  }
}

TEST(MeetingToResume, WhoIsGoneIsNamedToAllAtOnce) {
  for (int gone : {0, 2, 3}) {
    ResumeMeeting world(4);
    world.kill(gone);
    std::vector<int> left;
    for (int rank = 0; rank < 4; ++rank) {
      if (rank != gone) left.push_back(rank);
    }
    for (const auto& answer : world.meet(left, 120'000)) {
      EXPECT_EQ(answer.status().code(), Code::kRemoteError);
      EXPECT_THAT(answer.status().message(), HasSubstr(cat("rank ", gone, " has ended")));
    }
    // They can go on without it.
    world.purpose = MeetingPurpose::kShrink;
    expect_agreed(world, left, world.meet(left));
  }
}

// No majority goes on; all may come later.
TEST(MeetingToResume, WhoIsSilentIsNamedAtTheDeadline) {
  for (int silent : {0, 2}) {
    ResumeMeeting world(4);
    std::vector<int> come;
    for (int rank = 0; rank < 4; ++rank) {
      if (rank != silent) come.push_back(rank);
    }
    for (const auto& answer : world.meet(come, 1'000)) {
      EXPECT_EQ(answer.status().code(), Code::kTimeout) << answer.status().message();
      EXPECT_THAT(answer.status().message(), HasSubstr(cat("rank ", silent, " did not come")));
    }
    expect_agreed(world, {0, 1, 2, 3}, world.meet({0, 1, 2, 3}));
  }
}

// Rank 3 knows better. Whoever of the others convenes or comes hears of it.
TEST(MeetingToResume, WhoShrinksIsFollowed) {
  for (int shrinking : {0, 3}) {
    ResumeMeeting world(4);
    std::vector<Status> ends(4);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 4; ++rank) {
      threads.emplace_back([&, rank] {
        MeetingRequest request = world.request(120'000);
        if (rank != shrinking) {
          const Status resumed = meet(world.of(rank), request).status();
          EXPECT_EQ(resumed.code(), Code::kRemoteError);
          EXPECT_THAT(resumed.message(), HasSubstr("called hfr_comm_shrink"));
        }
        request.purpose = MeetingPurpose::kShrink;
        ends[static_cast<size_t>(rank)] = meet(world.of(rank), request).status();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Status& end : ends) EXPECT_TRUE(end.ok()) << end.message();
    EXPECT_THAT(world.of(1).members, ElementsAre(0, 1, 2, 3));
    EXPECT_EQ(world.of(1).id, world.of(3).id);
  }
}

// Rank 1 knows of a decision to shrink that came to nothing; rank 0 hears of it.
TEST(MeetingToResume, NotAfterADecisionToShrink) {
  ResumeMeeting world(3);
  const Decision decision = world.of(2).decide({0, 1});
  ASSERT_TRUE(world.of(1).follow({&decision, 1}).ok());
  EXPECT_EQ(world.meet({1}, 120'000)[0].status().code(), Code::kRemoteError);
  MeetingRequest request = world.request(120'000);
  MeetingRequest to_shrink = request;
  to_shrink.purpose = MeetingPurpose::kShrink;
  Status shrunk;
  std::thread other([&] { shrunk = meet(world.of(1), to_shrink).status(); });
  EXPECT_EQ(meet(world.of(0), request).status().code(), Code::kRemoteError);
  EXPECT_THAT(world.of(0).members, ElementsAre(0, 1));
  world.kill(2);
  EXPECT_TRUE(meet(world.of(0), to_shrink).ok());
  other.join();
  EXPECT_TRUE(shrunk.ok()) << shrunk.message();
  EXPECT_EQ(world.of(0).id, world.of(1).id);
}

}  // namespace
}  // namespace hfr
