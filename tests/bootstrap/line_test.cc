// Who may go on, and what survivors tell each other: pure.
#include "bootstrap/line.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace hfr {
namespace {

// A rank's place in a world with two children of one parent.
enum Place { kInA, kInB, kElsewhere, kDead, kNumPlaces };

// What a child's convener saw: those of the other child live, so they are silent at best.
std::vector<Standing> seen_from(Place child, const std::vector<Place>& world) {
  std::vector<Standing> seen;
  for (Place place : world) {
    seen.push_back(place == child   ? Standing::kCame
                   : place == kDead ? Standing::kGone
                                    : Standing::kSilent);
  }
  return seen;
}

TEST(MayGoOn, NeverTwoInAnyWorldOfUpToSevenRanks) {
  int worlds = 0, both = 0, one = 0;
  for (size_t ranks = 1; ranks <= 7; ++ranks) {
    size_t count = 1;
    for (size_t r = 0; r < ranks; ++r) count *= kNumPlaces;
    for (size_t number = 0; number < count; ++number) {
      std::vector<Place> world;
      for (size_t r = 0, rest = number; r < ranks; ++r, rest /= kNumPlaces) {
        world.push_back(static_cast<Place>(rest % kNumPlaces));
      }
      const bool a = may_go_on(seen_from(kInA, world));
      const bool b = may_go_on(seen_from(kInB, world));
      ++worlds;
      both += a && b;
      one += a || b;
    }
  }
  EXPECT_EQ(both, 0);
  EXPECT_GT(one, worlds / 8);  // the rule lets somebody on in many
}

// A decided first; some of its members have died since, and B's convener sees them as gone. As long
// as one of A lives, B does not come to be.
TEST(MayGoOn, NotBesideAnOlderChildOfWhichOneRankLives) {
  for (size_t ranks = 2; ranks <= 7; ++ranks) {
    for (size_t in_a = 1; in_a < (size_t{1} << ranks) - 1; ++in_a) {
      std::vector<Standing> a, b;
      for (size_t r = 0; r < ranks; ++r) {
        const bool member = (in_a >> r & 1) != 0;
        a.push_back(member ? Standing::kCame : Standing::kSilent);
      }
      if (!may_go_on(a)) continue;
      for (size_t survivor = 0; survivor < ranks; ++survivor) {
        if ((in_a >> survivor & 1) == 0) continue;
        b.clear();
        for (size_t r = 0; r < ranks; ++r) {
          const bool member = (in_a >> r & 1) != 0;
          b.push_back(r == survivor ? Standing::kSilent
                      : member      ? Standing::kGone
                                    : Standing::kCame);
        }
        EXPECT_FALSE(may_go_on(b)) << ranks << " ranks, A " << in_a << ", survivor " << survivor;
      }
    }
  }
}

// A was decided, and some of its members did not hear of it. B is decided by those and others. Then
// what is left of A decides again. Ranks die at any time.
TEST(MayGoOn, WhatIsLeftOfADecisionIsNotBesideTheNextOne) {
  enum Fate {
    kHeardLives,
    kHeardDiesBeforeB,
    kHeardDiesAfterB,
    kUnheardInB,
    kUnheardInBDiesAfter,
    kOnlyB,
    kOnlyBDiesAfter,
    kNever,
    kNumFates
  };
  using Fates = std::vector<Fate>;
  const auto seen = [](const Fates& fates, const std::set<Fate>& came, const std::set<Fate>& gone) {
    std::vector<Standing> standings;
    for (Fate fate : fates) {
      standings.push_back(came.count(fate) > 0   ? Standing::kCame
                          : gone.count(fate) > 0 ? Standing::kGone
                                                 : Standing::kSilent);
    }
    return standings;
  };
  const std::set<Fate> in_b = {kUnheardInB, kUnheardInBDiesAfter, kOnlyB, kOnlyBDiesAfter};
  const std::set<Fate> in_a = {kHeardLives, kHeardDiesBeforeB, kHeardDiesAfterB, kUnheardInB,
                               kUnheardInBDiesAfter};
  const std::set<Fate> dead = {kHeardDiesBeforeB, kHeardDiesAfterB, kUnheardInBDiesAfter,
                               kOnlyBDiesAfter, kNever};
  int beside = 0, beside_by_members_of_a = 0;
  for (size_t ranks = 2, count = 64; ranks <= 5; ++ranks, count *= kNumFates) {
    for (size_t number = 0; number < count; ++number) {
      Fates fates, of_a;
      for (size_t r = 0, rest = number; r < ranks; ++r, rest /= kNumFates) {
        fates.push_back(static_cast<Fate>(rest % kNumFates));
        if (in_a.count(fates.back()) > 0) of_a.push_back(fates.back());
      }
      const auto has = [&](Fate fate) { return std::count(fates.begin(), fates.end(), fate) > 0; };
      if (!has(kHeardLives) || (!has(kUnheardInB) && !has(kOnlyB))) continue;
      if (!may_go_on(seen(fates, in_a, {kNever}))) continue;
      if (!may_go_on(seen(fates, in_b, {kNever, kHeardDiesBeforeB}))) continue;
      beside += may_go_on(seen(fates, {kHeardLives}, dead));
      beside_by_members_of_a += may_go_on(seen(of_a, {kHeardLives}, dead));
    }
  }
  EXPECT_EQ(beside, 0);
  EXPECT_GT(beside_by_members_of_a, 0);  // so it must be counted over all
}

TEST(MayGoOn, Examples) {
  using enum Standing;
  auto may = [](std::vector<Standing> members) { return may_go_on(members); };
  EXPECT_TRUE(may({kGone, kGone, kGone, kCame}));
  EXPECT_TRUE(may({kCame, kSilent}));
  EXPECT_FALSE(may({kSilent, kCame}));
  EXPECT_TRUE(may({kSilent, kCame, kCame}));
  EXPECT_FALSE(may({kGone, kSilent, kCame}));
  EXPECT_FALSE(may({kGone, kGone}));
}

Line first_line(int self, int ranks) {
  Line line;
  line.self = self;
  for (int rank = 0; rank < ranks; ++rank) line.members.push_back(rank);
  return line;
}

TEST(Line, FollowsDecisionsAndKnowsWhatOthersMissed) {
  Line a = first_line(1, 4);
  Line b = first_line(2, 4);
  Line late = first_line(3, 4);
  const Decision first = a.decide({1, 2, 3});
  ASSERT_TRUE(a.follow({&first, 1}).ok());
  const Decision second = a.decide({1, 2});
  ASSERT_TRUE(a.follow({&second, 1}).ok());
  EXPECT_EQ(a.members, (std::vector<int>{1, 2}));
  EXPECT_NE(a.communicator_secret().bytes(), a.secret.bytes());

  auto missed = a.since(b.id);
  ASSERT_TRUE(missed);
  ASSERT_EQ(missed->size(), 2u);
  ASSERT_TRUE(b.follow(*missed).ok());
  EXPECT_EQ(b.id, a.id);
  EXPECT_EQ(b.communicator_secret().bytes(), a.communicator_secret().bytes());
  EXPECT_TRUE(a.since(b.id)->empty());

  EXPECT_EQ(late.follow(*missed).code(), Code::kRemoteError);
  a.settle();
  EXPECT_FALSE(a.since(Line::kFirst));
  EXPECT_EQ(a.since(first.id)->size(), 1u);
}

// Each child's line has the points of those before it, the newest last, and no more than it may.
TEST(Line, KeepsTheMeetingPointsOfItsAncestors) {
  std::vector<std::shared_ptr<MeetingPoint>> points;
  Line line;
  for (size_t generation = 0; generation < Line::kMostAncestors + 3; ++generation) {
    points.push_back(std::make_shared<MeetingPoint>());
    line.point = points.back();
    Line child;
    child.ancestors = line.with_ancestors();
    const size_t most = std::min(points.size(), Line::kMostAncestors);
    const std::vector<std::shared_ptr<MeetingPoint>> newest(
        points.end() - static_cast<std::ptrdiff_t>(most), points.end());
    EXPECT_EQ(child.ancestors, newest) << "generation " << generation;
    line = std::move(child);
  }
}

TEST(Line, WordsSurviveTheWayAndDamageIsNoticed) {
  const std::vector<Decision> decisions = {{"first", "abc", {0, 2, 17}}, {"abc", "d", {2}}};
  const std::string text = encode(decisions);
  auto back = decode_decisions(text);
  ASSERT_TRUE(back);
  ASSERT_EQ(back->size(), 2u);
  EXPECT_EQ((*back)[0].members, decisions[0].members);
  EXPECT_EQ((*back)[1].parent, "abc");
  for (size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_FALSE(decode_decisions(text.substr(0, cut))) << cut;
  }
  EXPECT_FALSE(decode_decisions("99999999999\n"));
  EXPECT_TRUE(decode_decisions("0\n")->empty());
  EXPECT_EQ(*decode_ranks(encode(std::set<int>{3, 5})), (std::vector<int>{3, 5}));
  for (const char* bad : {" ", "1 ", "1  2", "x", "-1", "1,2", "99999999999"}) {
    EXPECT_FALSE(decode_ranks(bad)) << bad;
  }
}

}  // namespace
}  // namespace hfr
