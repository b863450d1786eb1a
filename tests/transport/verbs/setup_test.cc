#include <gmock/gmock.h>

#include "transport/verbs/cards.hpp"
#include "transport/verbs/library.hpp"

namespace hfr::verbs {
namespace {

using testing::AllOf;
using testing::HasSubstr;

PeerCard sound_card() {
  PeerCard card;
  card.num_rails = 1;
  card.rails[0].mtu = 1024;
  card.rails[0].num_gids = 1;
  return card;
}

TEST(CheckCards, EqualOnesFit) { EXPECT_TRUE(check_cards(0, sound_card(), 1, sound_card()).ok()); }

TEST(CheckCards, DifferencesNameBothSides) {
  struct Case {
    const char* name;
    void (*change)(PeerCard&);
  };
  for (const Case& c : {Case{"HFREDUCE_IB_SL", [](PeerCard& p) { p.service_level = 3; }},
                        Case{"HFREDUCE_IB_TC", [](PeerCard& p) { p.traffic_class = 3; }},
                        Case{"HFREDUCE_IB_QPS", [](PeerCard& p) { p.queue_pairs = 3; }}}) {
    PeerCard theirs = sound_card();
    c.change(theirs);
    const Status status = check_cards(4, sound_card(), 7, theirs);
    EXPECT_EQ(status.code(), Code::kMismatch);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(c.name), HasSubstr("0 on rank 4"), HasSubstr("3 on rank 7")));
  }
}

TEST(CheckCards, WhatCannotBeReadIsRefused) {
  struct Case {
    const char* what;
    void (*spoil)(PeerCard&);
  };
  for (const Case& c :
       {Case{"magic", [](PeerCard& p) { p.magic = 1; }},
        Case{"version", [](PeerCard& p) { ++p.version; }},
        Case{"no rails", [](PeerCard& p) { p.num_rails = 0; }},
        Case{"too many rails", [](PeerCard& p) { p.num_rails = kMaxVerbsRails + 1; }},
        Case{"too many GIDs", [](PeerCard& p) { p.rails[0].num_gids = kMaxGids + 1; }},
        Case{"no end of a name", [](PeerCard& p) { p.rails[0].device.fill('x'); }},
        Case{"no MTU", [](PeerCard& p) { p.rails[0].mtu = 0; }},
        Case{"an MTU that is none", [](PeerCard& p) { p.rails[0].mtu = 1500; }},
        Case{"a small MTU is asked for", [](PeerCard& p) { p.mtu = 5; }}}) {
    PeerCard theirs = sound_card();
    c.spoil(theirs);
    const Status status = check_cards(0, sound_card(), 1, theirs);
    EXPECT_EQ(status.code(), Code::kMismatch) << c.what;
    EXPECT_THAT(status.message(), HasSubstr("rank 1")) << c.what;
  }
}

TEST(Library, AMissingOneIsNamed) {
  const Result<Library> library = load_library("libibverbs-that-is-not-there.so");
  ASSERT_FALSE(library.ok());
  EXPECT_EQ(library.status().code(), Code::kUnsupported);
  EXPECT_THAT(library.status().message(),
              AllOf(HasSubstr("libibverbs-that-is-not-there.so"), HasSubstr("HFREDUCE_TRANSPORT")));
}

TEST(Library, AnotherLibraryIsNotTakenForIt) {
  const Result<Library> library = load_library("libc.so.6");
  ASSERT_FALSE(library.ok());
  EXPECT_THAT(library.status().message(), HasSubstr("ibv_get_device_list"));
}

}  // namespace
}  // namespace hfr::verbs
