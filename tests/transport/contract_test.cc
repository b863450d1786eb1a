// What ports/transport.hpp promises, held against every transport. Both sides are driven by one
// thread, in turns, except where a test says so: what never blocks can be.
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <array>
#include <random>

#include "pair.hpp"

namespace hfr_tests {
namespace {

using hfr::PutTag;
using hfr::TransportEvent;
using testing::HasSubstr;
using Kind = hfr::TransportEvent::Kind;

class TransportContract : public testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    const std::string why = missing(GetParam());
    if (!why.empty()) GTEST_SKIP() << why;
  }
};

std::vector<std::byte> pattern(size_t bytes, unsigned seed) {
  std::vector<std::byte> data(bytes);
  std::minstd_rand random(seed + 1);
  for (std::byte& b : data) b = static_cast<std::byte>(random());
  return data;
}

TEST_P(TransportContract, EverySizeArrivesWhereItBelongs) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  const size_t largest = size_t{3} << 20;
  std::vector<std::byte> landing(largest + 64);
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{16383},
                       size_t{16384}, size_t{16385}, size_t{65'503}, size_t{65'504}, size_t{65'505},
                       size_t{65'536}, size_t{1} << 20, largest}) {
    std::fill(landing.begin(), landing.end(), std::byte{0xee});
    ranks[1].set_landing(3, landing.data(), largest);
    std::vector<std::byte> data = pattern(bytes, static_cast<unsigned>(bytes));
    ASSERT_TRUE(ranks[0].put(1, data.data(), bytes, {3, bytes + 7, bytes + 9}, 42));
    bool sent = false, arrived = false;
    while (!sent || !arrived) {
      std::array<TransportEvent, 4> events;
      for (size_t i = 0, n = ranks[0].poll(events); i < n; ++i) {
        ASSERT_EQ(events[i].kind, Kind::kPutDone) << ranks[0].peer_error(1);
        EXPECT_EQ(events[i].token, 42u);
        EXPECT_EQ(events[i].peer, 1);
        EXPECT_FALSE(sent) << "kPutDone came twice";
        sent = true;
      }
      for (size_t i = 0, n = ranks[1].poll(events); i < n; ++i) {
        ASSERT_EQ(events[i].kind, Kind::kArrival) << ranks[1].peer_error(0);
        EXPECT_EQ(events[i].peer, 0);
        EXPECT_EQ(events[i].tag.landing, 3u);
        EXPECT_EQ(events[i].tag.chunk, bytes + 7);
        EXPECT_EQ(events[i].tag.signature, bytes + 9);
        EXPECT_EQ(events[i].bytes, bytes);
        EXPECT_FALSE(arrived) << "it arrived twice";
        arrived = true;
      }
    }
    EXPECT_TRUE(std::equal(data.begin(), data.end(), landing.begin())) << bytes << " bytes";
    EXPECT_EQ(landing[bytes], std::byte{0xee}) << "bytes past the message were written";
  }
}

TEST_P(TransportContract, SmallPutsMayReuseTheirSourceAtOnce) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  const size_t bytes = ranks[0].capabilities().max_inline_bytes;
  ASSERT_GT(bytes, 0u);
  std::vector<std::byte> source = pattern(bytes, 1), landing(bytes);
  const std::vector<std::byte> expected = source;
  ranks[1].set_landing(0, landing.data(), bytes);
  ASSERT_TRUE(ranks[0].put(1, source.data(), bytes, {0, 1, 1}, 1));
  std::fill(source.begin(), source.end(), std::byte{0});
  await_event(ranks[1], Kind::kArrival);
  EXPECT_EQ(landing, expected);
}

// The pages are other ones each time, at the same address.
TEST_P(TransportContract, MemoryIsRegisteredAndForgottenAtAnyTime) {
  constexpr size_t kBytes = 65'536;
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::vector<std::byte> landing(kBytes);
  ranks[1].set_landing(0, landing.data(), kBytes);
  for (unsigned round = 0; round < 6; ++round) {
    const bool registered = round % 3 != 0;
    if (registered) {
      const hfr::Status status = ranks[0].register_memory(memory, kBytes);
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(ranks[0].sends_in_place(memory, kBytes));
    }
    const std::vector<std::byte> data = pattern(kBytes, round);
    std::copy(data.begin(), data.end(), static_cast<std::byte*>(memory));
    ASSERT_TRUE(ranks[0].put(1, memory, kBytes, {0, round, round}, round));
    bool sent = false, arrived = false;
    for (std::array<TransportEvent, 4> events; !sent || !arrived;) {
      for (int rank = 0; rank < 2; ++rank) {
        for (size_t i = 0, n = ranks[rank].poll(events); i < n; ++i) {
          ASSERT_EQ(events[i].kind, rank == 0 ? Kind::kPutDone : Kind::kArrival);
          (rank == 0 ? sent : arrived) = true;
        }
      }
    }
    EXPECT_EQ(landing, data) << "round " << round;
    if (registered) ranks[0].forget_memory(memory);
    ASSERT_EQ(madvise(memory, kBytes, MADV_REMOVE), 0);
  }
  munmap(memory, kBytes);
}

// Both ways at once, random sizes and landings, polled with room for few events.
TEST_P(TransportContract, RandomTrainsArriveInOrder) {
  constexpr int kPuts = 3000;
  constexpr uint32_t kLandings = 5;
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  struct RankState {
    std::vector<std::vector<std::byte>> landings;
    std::vector<std::vector<std::byte>> sources{kPuts};
    int put = 0, done = 0, arrived = 0;
  };
  std::array<RankState, 2> states;
  const size_t largest = 40'000;
  for (int rank = 0; rank < 2; ++rank) {
    states[static_cast<size_t>(rank)].landings.assign(kLandings, std::vector<std::byte>(largest));
    for (uint32_t i = 0; i < kLandings; ++i) {
      auto& landing = states[static_cast<size_t>(rank)].landings[i];
      ranks[rank].set_landing(i, landing.data(), landing.size());
    }
  }
  std::mt19937 random(7);
  std::array<std::vector<size_t>, 2> sizes;
  for (auto& list : sizes) {
    for (int i = 0; i < kPuts; ++i)
      list.push_back(i % 3 == 0 ? random() % largest : random() % 300);
  }
  auto landing_of = [](int i) { return static_cast<uint32_t>(i) * 7 % kLandings; };
  auto finished = [&] {
    return states[0].done == kPuts && states[1].done == kPuts && states[0].arrived == kPuts &&
           states[1].arrived == kPuts;
  };
  while (!finished()) {
    for (int rank = 0; rank < 2; ++rank) {
      auto me = static_cast<size_t>(rank);
      RankState& state = states[me];
      while (state.put < kPuts) {
        auto i = static_cast<size_t>(state.put);
        if (state.sources[i].empty()) {
          state.sources[i] = pattern(sizes[me][i] + 1, static_cast<unsigned>(2 * i + me));
        }
        if (!ranks[rank].put(1 - rank, state.sources[i].data(), sizes[me][i],
                             {landing_of(state.put), i, 2 * i + me}, i)) {
          break;
        }
        ++state.put;
      }
      std::array<TransportEvent, 3> events;
      size_t count = ranks[rank].poll(std::span(events).first(1 + random() % 3));
      for (size_t e = 0; e < count; ++e) {
        const TransportEvent& event = events[e];
        ASSERT_NE(event.kind, Kind::kPeerLost) << ranks[rank].peer_error(1 - rank);
        if (event.kind == Kind::kPutDone) {
          ASSERT_FALSE(state.sources[event.token].empty())
              << "put " << event.token << " is done twice";
          state.sources[event.token] = {};
          ++state.done;
          continue;
        }
        auto i = static_cast<size_t>(state.arrived++);
        ASSERT_EQ(event.tag.chunk, i) << "puts arrive in order";
        ASSERT_EQ(event.bytes, sizes[1 - me][i]);
        // A later put to the same landing may be there already; the last one can be checked.
        if (state.arrived == kPuts) {
          auto expected = pattern(event.bytes + 1, static_cast<unsigned>(2 * i + 1 - me));
          EXPECT_TRUE(std::equal(expected.begin(), expected.end() - 1,
                                 state.landings[event.tag.landing].begin()));
        }
      }
    }
  }
}

TEST_P(TransportContract, LandingsMayMoveBetweenArrivals) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::vector<std::vector<std::byte>> places(8, std::vector<std::byte>(5000));
  for (size_t i = 0; i < places.size(); ++i) {
    ranks[1].set_landing(0, places[i].data(), places[i].size());
    std::vector<std::byte> data = pattern(5000, static_cast<unsigned>(i));
    ASSERT_TRUE(ranks[0].put(1, data.data(), data.size(), {0, i, 0}, i));
    bool arrived = false, done = false;
    while (!arrived || !done) {
      std::array<TransportEvent, 2> events;
      done |= ranks[0].poll(events) > 0;
      arrived |= ranks[1].poll(events) > 0;
    }
    EXPECT_EQ(places[i], data);
  }
}

TEST_P(TransportContract, AFullQueueRefusesAndRecovers) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::vector<std::byte> data = pattern(100'000, 3), landing(100'000);
  ranks[1].set_landing(0, landing.data(), landing.size());
  int queued = 0;
  while (ranks[0].put(1, data.data(), data.size(), {0, static_cast<uint64_t>(queued), 0}, 0)) {
    ASSERT_LT(++queued, 100'000) << "no queue is that long";
  }
  int arrived = 0, done = 0;
  while (arrived < queued || done < queued) {
    std::array<TransportEvent, 8> events;
    done += static_cast<int>(ranks[0].poll(events));
    arrived += static_cast<int>(ranks[1].poll(events));
  }
  EXPECT_TRUE(ranks[0].put(1, data.data(), 1, {0, 0, 0}, 0));
}

TEST_P(TransportContract, FourRanksTalkAtOnce) {
  constexpr int kRanks = 4;
  Ranks ranks(GetParam(), kRanks);
  ranks.connect();
  std::vector<std::vector<std::byte>> landings(kRanks * kRanks, std::vector<std::byte>(2000));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    for (int from = 0; from < kRanks; ++from) {
      auto& landing = landings[static_cast<size_t>(rank * kRanks + from)];
      ranks[rank].set_landing(static_cast<uint32_t>(from), landing.data(), landing.size());
    }
  }
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      std::vector<std::byte> data = pattern(2000, static_cast<unsigned>(rank));
      for (int peer = 0; peer < kRanks; ++peer) {
        if (peer == rank) continue;
        EXPECT_TRUE(ranks[rank].put(peer, data.data(), data.size(),
                                    {static_cast<uint32_t>(rank), 0, 0}, 0));
      }
      for (int events = 0; events < 2 * (kRanks - 1);) {
        auto got = next_events(ranks[rank]);
        if (got.empty()) return;
        events += static_cast<int>(got.size());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int rank = 0; rank < kRanks; ++rank) {
    for (int from = 0; from < kRanks; ++from) {
      if (from == rank) continue;
      EXPECT_EQ(landings[static_cast<size_t>(rank * kRanks + from)],
                pattern(2000, static_cast<unsigned>(from)));
    }
  }
}

// What is said of the next poll keeps nothing back for good: neither bytes nor a loss.
TEST_P(TransportContract, PeersThatAreNotExpectedAreHeardToo) {
  for (int expected : {1, 2, 7, hfr::Transport::kNobody}) {
    Ranks ranks(GetParam(), 3);
    ranks.connect();
    std::array<std::byte, 64> data{}, landings[2];
    for (int rank : {1, 2}) {
      const auto landing = static_cast<uint32_t>(rank - 1);
      ranks[0].set_landing(landing, &landings[landing], sizeof(data));
      ASSERT_TRUE(ranks[rank].put(0, data.data(), data.size(), {landing, 5, 6}, 1));
    }
    std::vector<int> heard;
    bool lost = false;
    const uint64_t until = hfr::monotonic_ns() + kPatienceNs;
    while ((heard.size() < 2 || !lost) && hfr::monotonic_ns() < until) {
      std::array<TransportEvent, 4> events;
      ranks[0].expect(expected);
      for (size_t i = 0, n = ranks[0].poll(events); i < n; ++i) {
        if (events[i].kind == Kind::kArrival) heard.push_back(events[i].peer);
        lost |= events[i].kind == Kind::kPeerLost && events[i].peer == 2;
      }
      if (heard.size() < 2) {
        for (int rank : {1, 2}) ranks[rank].poll(events);
      } else {
        ranks.destroy(2);
      }
    }
    EXPECT_THAT(heard, testing::UnorderedElementsAre(1, 2)) << "expecting " << expected;
    EXPECT_TRUE(lost) << "expecting " << expected;
  }
}

// What is expected of a poll says nothing of the next one, and a sleeper hears everybody.
TEST_P(TransportContract, AHintIsForOnePoll) {
  Ranks ranks(GetParam(), 3);
  ranks.connect();
  std::array<std::byte, 64> data{}, landing{};
  ranks[0].set_landing(0, &landing, sizeof(landing));
  auto poll = [&] {
    std::array<TransportEvent, 4> events, done;
    const size_t count = ranks[0].poll(events);
    ranks[1].poll(done);
    return count;
  };
  constexpr int kRounds = 200;
  int at_once = 0;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(ranks[1].put(0, data.data(), data.size(), {0, 5, 6}, 1));
    ranks[0].sleep(kPatienceNs);  // it is here
    ranks[0].expect(2);
    EXPECT_EQ(poll(), 1u) << "after sleeping, round " << round;
    ASSERT_TRUE(ranks[1].put(0, data.data(), data.size(), {0, 5, 6}, 1));
    ranks[0].expect(2);
    ranks[0].poll({});
    size_t arrived = poll();
    at_once += static_cast<int>(arrived);
    for (const uint64_t until = hfr::monotonic_ns() + kPatienceNs; arrived == 0;) {
      ASSERT_LT(hfr::monotonic_ns(), until);
      arrived = poll();
    }
  }
  // All of them, but that the kernel may take its time. One in four if the hint stayed.
  EXPECT_GT(at_once, kRounds / 2);
}

// A large frame right after a small one, both there before the receiver looks.
TEST_P(TransportContract, LargeOnesAfterSmallOnesArriveWhole) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  for (size_t bytes :
       {size_t{16'300}, size_t{65'400}, size_t{65'440}, size_t{65'536}, size_t{200'000}}) {
    std::vector<std::byte> small = pattern(40, 1), large = pattern(bytes, 2);
    std::vector<std::byte> small_landing(40), large_landing(bytes);
    ranks[1].set_landing(0, small_landing.data(), small_landing.size());
    ranks[1].set_landing(1, large_landing.data(), large_landing.size());
    ASSERT_TRUE(ranks[0].put(1, small.data(), small.size(), {0, 1, 1}, 1));
    ASSERT_TRUE(ranks[0].put(1, large.data(), large.size(), {1, 2, 2}, 2));
    size_t arrived = 0, sent = 0;
    const uint64_t until = hfr::monotonic_ns() + kPatienceNs;
    for (std::array<TransportEvent, 4> events; arrived + sent < 4;) {
      ASSERT_LT(hfr::monotonic_ns(), until);
      sent += ranks[0].poll(events);
      arrived += ranks[1].poll(events);
    }
    EXPECT_EQ(small_landing, small);
    EXPECT_EQ(large_landing, large) << bytes;
  }
}

TEST_P(TransportContract, WhatWasReportedArrivesBeforeTheLoss) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::vector<std::byte> landing(64), data = pattern(64, 5);
  ranks[1].set_landing(0, landing.data(), landing.size());
  ASSERT_TRUE(ranks[0].put(1, data.data(), data.size(), {0, 9, 0}, 1));
  // A transport that reports when the receiver has taken it needs both sides' turns.
  std::array<TransportEvent, 4> events;
  size_t arrived = 0;
  const uint64_t until = hfr::monotonic_ns() + kPatienceNs;
  while (ranks[0].poll(events) == 0 && hfr::monotonic_ns() < until)
    arrived += ranks[1].poll(events);
  ranks.destroy(0);
  if (arrived == 0) {
    auto first = next_events(ranks[1], 1);
    ASSERT_EQ(first.at(0).kind, Kind::kArrival);
  }
  EXPECT_EQ(landing, data);
  auto last = next_events(ranks[1], 1);
  ASSERT_EQ(last.at(0).kind, Kind::kPeerLost);
  EXPECT_EQ(last[0].peer, 0);
  EXPECT_THAT(ranks[1].peer_error(0), HasSubstr("rank 0"));
  EXPECT_FALSE(ranks[1].put(0, data.data(), 1, {0, 0, 0}, 0));
  EXPECT_EQ(ranks[1].poll(events), 0u) << "a loss is reported once";
}

TEST_P(TransportContract, MessagesThatDoNotFitLoseThePeer) {
  for (uint32_t landing_number : {0u, 1u}) {
    Ranks ranks(GetParam(), 2);
    ranks.connect();
    std::vector<std::byte> data(100), landing(99);
    ranks[1].set_landing(0, landing.data(), landing.size());
    ASSERT_TRUE(ranks[0].put(1, data.data(), data.size(), {landing_number, 0, 0}, 1));
    EXPECT_EQ(await_event(ranks[1], Kind::kPeerLost).peer, 0);
    EXPECT_THAT(ranks[1].peer_error(0), HasSubstr(landing_number == 0 ? "holds 99" : "not exist"));
    EXPECT_EQ(await_event(ranks[0], Kind::kPeerLost).peer, 1);
  }
}

TEST_P(TransportContract, AfterStopNothingMoves) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::vector<std::byte> data(100'000), landing(100'000);
  ranks[0].set_landing(0, landing.data(), landing.size());
  ASSERT_TRUE(ranks[1].put(0, data.data(), data.size(), {0, 0, 0}, 1));
  ranks[0].stop();
  std::array<TransportEvent, 4> events;
  EXPECT_EQ(ranks[0].poll(events), 0u);
  EXPECT_FALSE(ranks[0].put(1, data.data(), 1, {0, 0, 0}, 1));
  ranks.destroy(0);
  EXPECT_EQ(await_event(ranks[1], Kind::kPeerLost).peer, 0);
}

// The receiver copies while the sender stops and frees: sanitizers see what is touched too late.
TEST_P(TransportContract, StopGivesSourcesBack) {
  for (int round = 0; round < 50; ++round) {
    Ranks ranks(GetParam(), 2);
    ranks.connect();
    std::vector<std::byte> landing(300'000);
    ranks[1].set_landing(0, landing.data(), landing.size());
    std::atomic<bool> lost{false};
    std::thread receiver([&] {
      await_event(ranks[1], Kind::kPeerLost);
      lost = true;
    });
    auto data = std::make_unique<std::vector<std::byte>>(300'000);
    for (uint64_t i = 0; i < 20; ++i) {
      ranks[0].put(1, data->data(), data->size(), {0, i, 0}, i);
      std::array<TransportEvent, 4> events;
      ranks[0].poll(events);
    }
    ranks[0].stop();
    data.reset();
    ranks.destroy(0);
    receiver.join();
    EXPECT_TRUE(lost);
  }
}

TEST_P(TransportContract, ASleeperWakesForWork) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::vector<std::byte> data(64), landing(64);
  ranks[1].set_landing(0, landing.data(), landing.size());
  constexpr int kRounds = 200;
  std::thread receiver([&] {
    std::array<TransportEvent, 4> events;
    for (int arrived = 0; arrived < kRounds;) {
      const uint64_t until = hfr::monotonic_ns() + kPatienceNs;
      // A wake-up that is lost would cost a minute, far more than the patience.
      ranks[1].sleep(60'000'000'000);
      arrived += static_cast<int>(ranks[1].poll(events));
      ASSERT_LT(hfr::monotonic_ns(), until);
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(ranks[0].put(1, data.data(), data.size(), {0, 0, 0}, 1));
    await_event(ranks[0], Kind::kPutDone);
  }
  receiver.join();
}

TEST_P(TransportContract, ConnectEndsAtItsDeadline) {
  Ranks ranks(GetParam(), 3);
  hfr::Status status = ranks.connect_one(1, 300'000'000);
  EXPECT_EQ(status.code(), hfr::Code::kTimeout) << status.message();
  EXPECT_THAT(status.message(), testing::ContainsRegex("rank [02]"));
}

TEST_P(TransportContract, AnAddressThatIsNoneIsRefused) {
  Ranks ranks(GetParam(), 2);
  for (const char* bad : {"", "nonsense", "loopback:1:", "127.0.0.1:99999"}) {
    auto bytes = std::as_bytes(std::span(bad, std::strlen(bad)));
    ranks.address(1).assign(bytes.begin(), bytes.end());
    hfr::Status status = ranks.connect_one(0, 300'000'000);
    EXPECT_FALSE(status.ok()) << bad;
    EXPECT_THAT(status.message(), HasSubstr("rank 1")) << bad;
  }
}

TEST_P(TransportContract, StrangersAreUnknown) {
  Ranks ranks(GetParam(), 2);
  ranks.connect();
  std::byte data{};
  EXPECT_FALSE(ranks[0].put(7, &data, 1, {0, 0, 0}, 0));
  EXPECT_THAT(ranks[0].peer_error(7), HasSubstr("no connection"));
  EXPECT_EQ(ranks[0].peer_error(1), "");
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportContract,
                         testing::Values(TransportKind{"loopback", 0}, TransportKind{"tcp", 1},
                                         TransportKind{"tcp_3_connections", 3},
                                         TransportKind{"verbs", 1, true},
                                         TransportKind{"verbs_3_connections", 3, true}),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace hfr_tests
