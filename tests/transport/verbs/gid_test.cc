#include "transport/verbs/gid.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>

#include <random>
#include <vector>

#include "transport/verbs/pairs.hpp"

namespace hfr::verbs {
namespace {

Gid gid(int index, const char* address, int prefix_bits, GidKind kind = GidKind::kRoceV2) {
  Gid gid;
  EXPECT_EQ(inet_pton(AF_INET6, address, gid.bytes.data()), 1) << address;
  gid.index = static_cast<uint8_t>(index);
  gid.prefix_bits = static_cast<uint8_t>(prefix_bits);
  gid.kind = kind;
  return gid;
}

// What a RoCE port with an IPv4 and a global IPv6 address shows, v1 and v2 of each.
std::vector<Gid> usual_table(int host, const char* network = "10.1.0.") {
  const std::string v4 = std::string("::ffff:") + network + std::to_string(host);
  const std::string v6 = "2001:db8::" + std::to_string(host);
  const std::string local = "fe80::" + std::to_string(host);
  return {gid(0, local.c_str(), 64, GidKind::kRoceV1), gid(1, local.c_str(), 64),
          gid(2, v4.c_str(), 120, GidKind::kRoceV1),   gid(3, v4.c_str(), 120),
          gid(4, v6.c_str(), 64, GidKind::kRoceV1),    gid(5, v6.c_str(), 64)};
}

TEST(Gid, Text) {
  EXPECT_EQ(gid(3, "::ffff:10.9.0.1", 120).text(), "GID 3 (10.9.0.1, RoCE v2)");
  EXPECT_EQ(gid(0, "fe80::1", 64, GidKind::kInfiniBand).text(), "GID 0 (fe80::1, InfiniBand)");
}

TEST(Gid, SubnetNeedsKnownPrefixAndGlobalAddresses) {
  EXPECT_TRUE(same_subnet(gid(0, "::ffff:10.1.0.1", 120), gid(0, "::ffff:10.1.0.2", 120)));
  EXPECT_FALSE(same_subnet(gid(0, "::ffff:10.1.0.1", 120), gid(0, "::ffff:10.1.1.1", 120)));
  EXPECT_FALSE(same_subnet(gid(0, "::ffff:10.1.0.1", 0), gid(0, "::ffff:10.1.0.2", 0)));
  EXPECT_FALSE(same_subnet(gid(0, "fe80::1", 64), gid(0, "fe80::2", 64)));
  // The longer prefix decides: the narrower side cannot reach the other without a router.
  EXPECT_FALSE(same_subnet(gid(0, "::ffff:10.1.0.1", 112), gid(0, "::ffff:10.1.1.1", 120)));
}

TEST(ChooseGids, RoceV2OfIpv4InOneSubnet) {
  auto pair = choose_gids(usual_table(1), usual_table(2));
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->mine.index, 3);
  EXPECT_EQ(pair->theirs.index, 3);
}

TEST(ChooseGids, OneSubnetBeforeAnotherFamily) {
  // Their IPv4 networks differ, their IPv6 network is one.
  auto pair = choose_gids(usual_table(1), usual_table(2, "10.2.0."));
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->mine.index, 5);
}

TEST(ChooseGids, RoutedBeforeLinkLocal) {
  auto pair = choose_gids(std::vector{gid(0, "fe80::1", 64), gid(1, "::ffff:10.9.0.1", 120)},
                          std::vector{gid(0, "fe80::2", 64), gid(1, "::ffff:10.9.1.1", 120)});
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->mine.index, 1);
}

TEST(ChooseGids, KindAndFamilyMustAgree) {
  const Gid v4 = gid(0, "::ffff:10.1.0.1", 120);
  EXPECT_FALSE(choose_gids(std::vector{v4}, std::vector{gid(0, "2001:db8::1", 64)}));
  EXPECT_FALSE(
      choose_gids(std::vector{v4}, std::vector{gid(0, "::ffff:10.1.0.2", 120, GidKind::kRoceV1)}));
  EXPECT_FALSE(choose_gids(std::vector{gid(0, "fe80::1", 64)},
                           std::vector{gid(0, "fe80::2", 64, GidKind::kInfiniBand)}));
  EXPECT_FALSE(choose_gids({}, std::vector{v4}));
  EXPECT_TRUE(choose_gids(std::vector{gid(0, "fe80::1", 64, GidKind::kInfiniBand)},
                          std::vector{gid(0, "fe80::2", 64, GidKind::kInfiniBand)}));
}

// Any tables, looked at from either side, in any order of their entries.
TEST(ChooseGids, BothSidesComeToTheSame) {
  std::mt19937 random(1);
  const char* addresses[] = {"fe80::1",         "fe80::2",         "2001:db8::1",
                             "2001:db8::2",     "fd00::1",         "::ffff:10.1.0.1",
                             "::ffff:10.1.0.2", "::ffff:10.2.0.1", "fd00:1::2"};
  for (int round = 0; round < 20'000; ++round) {
    auto table = [&] {
      std::vector<Gid> gids;
      for (size_t i = 0, n = random() % 5; i < n; ++i) {
        gids.push_back(gid(static_cast<int>(i), addresses[random() % std::size(addresses)],
                           random() % 2 == 0 ? 64 : 120, static_cast<GidKind>(random() % 3)));
      }
      return gids;
    };
    std::vector<Gid> a = table(), b = table();
    auto from_a = choose_gids(a, b);
    std::shuffle(a.begin(), a.end(), random);
    auto from_b = choose_gids(b, a);
    ASSERT_EQ(from_a.has_value(), from_b.has_value());
    if (!from_a) continue;
    ASSERT_EQ(from_a->mine.index, from_b->theirs.index) << "round " << round;
    ASSERT_EQ(from_a->theirs.index, from_b->mine.index) << "round " << round;
  }
}

RailCard rail(const std::vector<Gid>& gids) {
  RailCard card;
  card.num_gids = static_cast<uint16_t>(gids.size());
  std::copy(gids.begin(), gids.end(), card.gids.begin());
  return card;
}

TEST(PairRails, ConnectionsBeginOnTheirOwnRail) {
  std::vector<RailCard> mine = {rail({gid(0, "::ffff:10.1.0.1", 120)}),
                                rail({gid(0, "::ffff:10.1.0.2", 120)})};
  std::vector<RailCard> theirs = {rail({gid(0, "::ffff:10.1.0.3", 120)}),
                                  rail({gid(0, "::ffff:10.1.0.4", 120)})};
  for (size_t connection : {0, 1, 2, 3}) {
    auto pairs = pair_rails(mine, theirs, connection, true);
    ASSERT_EQ(pairs.size(), 4u);
    EXPECT_EQ(pairs[0].mine, connection % 2);
    EXPECT_EQ(pairs[0].theirs, connection % 2);
  }
}

TEST(PairRails, OneSubnetFirst) {
  // Two separate networks, wired crosswise.
  std::vector<RailCard> mine = {rail({gid(0, "::ffff:10.1.0.1", 120)}),
                                rail({gid(0, "::ffff:10.2.0.1", 120)})};
  std::vector<RailCard> theirs = {rail({gid(0, "::ffff:10.2.0.2", 120)}),
                                  rail({gid(0, "::ffff:10.1.0.2", 120)})};
  auto pairs = pair_rails(mine, theirs, 0, true);
  ASSERT_EQ(pairs.size(), 4u);
  EXPECT_NE(pairs[0].mine, pairs[0].theirs);
  EXPECT_NE(pairs[1].mine, pairs[1].theirs);
}

TEST(PairRails, BothSidesHaveTheSameOrder) {
  for (size_t num_mine : {1u, 2u, 3u}) {
    for (size_t num_theirs : {1u, 2u, 4u}) {
      std::vector<RailCard> mine, theirs;
      for (size_t i = 0; i < num_mine; ++i) mine.push_back(rail(usual_table(static_cast<int>(i))));
      for (size_t i = 0; i < num_theirs; ++i)
        theirs.push_back(rail(usual_table(static_cast<int>(10 + i))));
      for (size_t connection = 0; connection < 5; ++connection) {
        auto here = pair_rails(mine, theirs, connection, true);
        auto there = pair_rails(theirs, mine, connection, false);
        ASSERT_EQ(here.size(), num_mine * num_theirs);
        ASSERT_EQ(there.size(), here.size());
        for (size_t i = 0; i < here.size(); ++i) {
          EXPECT_EQ(here[i].mine, there[i].theirs);
          EXPECT_EQ(here[i].theirs, there[i].mine);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hfr::verbs
