// Two transports of this process, driven by hand, whose connection cannot be made on its first
// rails, or is mended.
#include <gmock/gmock.h>

#include <chrono>
#include <fstream>
#include <thread>

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

// Node 4's device has a GID for its IPv4 address, and loses it while the network interface has
// none.
class WithoutAddress {
 public:
  WithoutAddress() {
    run_command("ip addr del 10.9.0.5/24 dev rail_4");
    run_command("while " + has_gid_ + "; do sleep 0.05; done");
  }
  ~WithoutAddress() {
    run_command("ip addr add 10.9.0.5/24 dev rail_4");
    run_command("ip route replace 10.9.0.0/24 dev rail_4 src 10.9.0.5 table 104");
    run_command("until " + has_gid_ + "; do sleep 0.05; done");
  }
  WithoutAddress(const WithoutAddress&) = delete;
  WithoutAddress& operator=(const WithoutAddress&) = delete;

 private:
  const std::string has_gid_ =
      "cat /sys/class/infiniband/rxe_4/ports/1/gid_attrs/ndevs/1 > /dev/null 2>&1";
};

// Both sides know the GID from before it went.
TEST_F(RdmaMending, ARailThatCannotBeJoinedIsPassedOver) {
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.rails = {rail_of(rank == 0 ? 4 : 1)};
    if (rank == 0) options.rails.push_back(rail_of(2));
    options.logger = log_of(rank);
  });
  {
    WithoutAddress gone;
    ranks.connect();
  }
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(count_lines(rank, "trying the next pair of rails"), 1) << "rank " << rank;
  }
  EXPECT_EQ(count_lines(0, "rxe_4 port 1: connecting a queue pair"), 1);
  EXPECT_EQ(count_lines(1, "rank 0 says: rxe_4 port 1: connecting a queue pair"), 1);
  expect_puts_arrive(ranks);
}

// Each side is left alone for longer than the other side's queue pair waits for an acknowledgement,
// and that one gives up at the first that does not come: whoever sent before the other had joined
// would break what is being mended, time and again.
TEST_F(RdmaMending, NothingIsSentBeforeBothSidesHaveJoined) {
  constexpr int kTimeout = 13;  // 34 ms
  constexpr std::chrono::milliseconds kPause{100};
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
