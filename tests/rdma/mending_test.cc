// Two transports of this process, driven by hand, whose connection cannot be made on its first
// rails, or is mended.
#include <gmock/gmock.h>

#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <span>
#include <thread>
#include <vector>

#include "../transport/pair.hpp"
#include "nodes.hpp"

namespace hfr_tests {
namespace {

using Kind = hfr::TransportEvent::Kind;

class RdmaMending : public RdmaTest {};

std::string log_path(int rank) {
  return "/dev/shm/hfreduce_mending_" + std::to_string(rank) + ".log";
}

int count_lines(int rank, const std::string& text) {
  std::ifstream file(log_path(rank));
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find(text) != std::string::npos) ++count;
  }
  return count;
}

hfr::Logger log_of(int rank) {
  std::remove(log_path(rank).c_str());
  return *hfr::Logger::to_file(hfr::LogLevel::kWarn, log_path(rank), "");
}

hfr::VerbsRail rail_of(int node) {
  hfr::VerbsRail rail;
  rail.device = device_name(node);
  return rail;
}

void expect_puts_arrive(Ranks& ranks) {
  std::vector<std::byte> data(64), landing(64);
  for (int rank = 0; rank < 2; ++rank) {
    ranks[1 - rank].set_landing(0, landing.data(), landing.size());
    ASSERT_TRUE(ranks[rank].put(1 - rank, data.data(), data.size(), {0, 0, 0}, 1));
    EXPECT_EQ(await_event(ranks[1 - rank], Kind::kArrival).bytes, data.size());
  }
}

// Both sides know the GID from before it went.
TEST_F(RdmaMending, ARailThatCannotBeJoinedIsPassedOver) {
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.rails = {rail_of(rank == 0 ? 4 : 1)};
    if (rank == 0) options.rails.push_back(rail_of(2));
    options.logger = log_of(rank);
  });
  take_address(4);
  ranks.connect();
  give_address(4);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(count_lines(rank, "trying the next pair of rails"), 1) << "rank " << rank;
  }
  EXPECT_EQ(count_lines(0, "rxe_4 port 1: its GID 1 (10.9.0.5, RoCE v2) is gone"), 1);
  EXPECT_EQ(count_lines(1, "rank 0 says: rxe_4 port 1: its GID 1 (10.9.0.5, RoCE v2) is gone"), 1);
  expect_puts_arrive(ranks);
}

TEST_F(RdmaMending, WhenNoPairOfRailsCanBeJoinedEveryReasonIsSaid) {
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.rails = {rail_of(rank == 0 ? 4 : 1)};
    if (rank == 0) options.rails.push_back(rail_of(2));
  });
  for (int node : {2, 4}) take_address(node);
  std::array<hfr::Status, 2> statuses;
  std::thread other([&] { statuses[1] = ranks.connect_one(1, kPatienceNs); });
  statuses[0] = ranks.connect_one(0, kPatienceNs);
  other.join();
  for (int node : {2, 4}) give_address(node);
  for (const hfr::Status& status : statuses) {
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.message(),
                testing::AllOf(testing::HasSubstr("rxe_2 port 1: its GID 1 (10.9.0.3"),
                               testing::HasSubstr("rxe_4 port 1: its GID 1 (10.9.0.5")));
  }
}

TEST_F(RdmaMending, AnMtuThatThePortsDoNotAllowIsTold) {
  run_command("ip link set rail_1 mtu 1500");
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.mtu = rank == 0 ? 4096 : 0;
    options.logger = log_of(rank);
  });
  ranks.connect();
  run_command("ip link set rail_1 mtu 4500");
  EXPECT_EQ(count_lines(0, "HFREDUCE_IB_MTU=4096 is more than"), 1);
  EXPECT_EQ(count_lines(0, "MTU 1024"), 1);
  EXPECT_EQ(count_lines(1, "HFREDUCE_IB_MTU"), 0);
  expect_puts_arrive(ranks);
}

// More payloads arrive than a completion queue has room for, while its side looks away.
TEST_F(RdmaMending, ACompletionQueueThatOverflowsIsReplaced) {
  constexpr size_t kBytes = 512;
  constexpr uint32_t kPuts = 100;
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    if (rank == 1) options.most_completions = 32;
    options.timeout = 14;  // 67 ms
    options.retry_count = 2;
    options.logger = log_of(rank);
  });
  ranks.connect();
  EXPECT_EQ(count_lines(1, "holds 32 entries at most"), 1);
  std::vector<std::byte> sources(2 * kPuts * kBytes), landings(kPuts * kBytes);
  for (size_t i = 0; i < sources.size(); ++i)
    sources[i] = static_cast<std::byte>(i / kBytes + i % 7);
  for (uint32_t i = 0; i < kPuts; ++i)
    ranks[1].set_landing(i, landings.data() + i * kBytes, kBytes);
  std::array<hfr::TransportEvent, 1> events;
  uint32_t num_done = 0;
  auto drive_sender = [&] { num_done += static_cast<uint32_t>(ranks[0].poll(events)); };
  auto put = [&](uint32_t number) {
    const hfr::PutTag tag{number % kPuts, number, 0};
    while (!ranks[0].put(1, sources.data() + number * kBytes, kBytes, tag, number)) drive_sender();
  };
  const auto until = std::chrono::steady_clock::now() + kPatience;
  auto in_time = [&] { return std::chrono::steady_clock::now() < until; };
  auto expect_arrivals = [&](uint32_t first) {
    for (uint32_t next = first; next < first + kPuts && in_time();) {
      drive_sender();
      if (ranks[1].poll(events) == 0) continue;
      ASSERT_EQ(events[0].kind, Kind::kArrival) << ranks[1].peer_error(0);
      ASSERT_EQ(events[0].tag.chunk, next);
      ASSERT_EQ(std::memcmp(landings.data() + next % kPuts * kBytes, sources.data() + next * kBytes,
                            kBytes),
                0);
      ++next;
    }
    EXPECT_TRUE(in_time()) << "not all arrived";
  };
  // The first to each landing asks where it is; one at a time, the queue is wide enough.
  for (uint32_t number = 0; number < kPuts; ++number) {
    put(number);
    while (ranks[1].poll(events) == 0 && in_time()) drive_sender();
    ASSERT_EQ(events[0].tag.chunk, number);
  }
  for (uint32_t number = kPuts; number < 2 * kPuts; ++number) put(number);
  while (count_lines(0, "mending it") == 0 && num_done < 2 * kPuts && in_time()) {
    for (int i = 0; i < 1000; ++i) drive_sender();
  }
  expect_arrivals(kPuts);
  EXPECT_GE(count_lines(1, "the completion queue of rxe_1 port 1 overflowed"), 1);
  EXPECT_GE(count_lines(1, "is made anew"), 1);
  expect_puts_arrive(ranks);
}

// Whoever gives up first, the error says why the last attempt failed, not only how it began.
TEST_F(RdmaMending, AnAddressThatStaysGoneIsNamed) {
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.timeout = 14;  // 67 ms
    options.retry_count = 2;
    options.mend_ns = 4'000'000'000;
    options.logger = log_of(rank);
  });
  ranks.connect();
  std::array<std::byte, 8> data{}, landing{};
  for (int rank = 0; rank < 2; ++rank) ranks[rank].set_landing(0, landing.data(), landing.size());
  take_address(1);
  ASSERT_TRUE(ranks[0].put(1, data.data(), data.size(), {0, 0, 0}, 1));
  std::array<bool, 2> lost{};
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!(lost[0] && lost[1]) && std::chrono::steady_clock::now() < until) {
    for (int rank = 0; rank < 2; ++rank) {
      std::array<hfr::TransportEvent, 1> events;
      if (ranks[rank].poll(events) > 0 && events[0].kind == Kind::kPeerLost)
        lost[static_cast<size_t>(rank)] = true;
    }
  }
  give_address(1);
  EXPECT_TRUE(lost[0] && lost[1]);
  EXPECT_THAT(ranks[0].peer_error(1), testing::HasSubstr("rxe_0 port 1 to rank 1's rxe_1"));
  EXPECT_THAT(ranks[1].peer_error(0), testing::HasSubstr("its GID 1 (10.9.0.2, RoCE v2) is gone"));
}

// Each side is left alone for longer than the other side's queue pair waits for an acknowledgement,
// and that one gives up at the first that does not come: whoever sent before the other had joined
// would break what is being mended, time and again.
TEST_F(RdmaMending, NothingIsSentBeforeBothSidesHaveJoined) {
  constexpr int kTimeout = 16;  // 268 ms
  constexpr std::chrono::milliseconds kPause{600};
  constexpr int kMostTurns = 60;
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.timeout = kTimeout;
    options.retry_count = 0;
    options.logger = log_of(rank);
  });
  ranks.connect();
  std::array<hfr::TransportEvent, 8> events;

  cut_cable(1);
  for (int turn = 0; count_lines(1, "mending it") == 0; ++turn) {
    ASSERT_LT(turn, kMostTurns);
    ranks[1].poll(events);
    std::this_thread::sleep_for(kPause);
  }
  mend_cable(1);
  const char* kMended = "is made anew";
  for (int turn = 0; count_lines(0, kMended) == 0 || count_lines(1, kMended) == 0; ++turn) {
    ASSERT_LT(turn, kMostTurns) << "it is not mended";
    for (int rank = 0; rank < 2; ++rank) {
      ranks[rank].poll(events);
      std::this_thread::sleep_for(kPause);
    }
  }
  expect_puts_arrive(ranks);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(count_lines(rank, " broke"), 1) << "rank " << rank;
    EXPECT_EQ(count_lines(rank, kMended), 1) << "rank " << rank;
  }
}

}  // namespace
}  // namespace hfr_tests
