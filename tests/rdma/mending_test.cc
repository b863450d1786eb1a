// Two transports of this process, driven by hand, while a connection between them is mended.
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

// Each side is left alone for longer than the other side's queue pair waits for an acknowledgement,
// and that one gives up at the first that does not come: whoever sent before the other had joined
// would break what is being mended, time and again.
TEST_F(RdmaMending, NothingIsSentBeforeBothSidesHaveJoined) {
  constexpr int kTimeout = 16;  // 268 ms
  constexpr std::chrono::milliseconds kPause{600};
  constexpr int kMostTurns = 60;
  for (int rank = 0; rank < 2; ++rank) std::remove(log_path(rank).c_str());
  Ranks ranks({"verbs", 1, true}, 2, [](int rank, hfr::VerbsOptions& options) {
    options.timeout = kTimeout;
    options.retry_count = 0;
    options.logger = *hfr::Logger::to_file(hfr::LogLevel::kWarn, log_path(rank), "");
  });
  ranks.connect();
  std::vector<std::byte> data(64), landing(64);
  for (int rank = 0; rank < 2; ++rank) ranks[rank].set_landing(0, landing.data(), landing.size());
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
  for (int rank = 0; rank < 2; ++rank) {
    ASSERT_TRUE(ranks[rank].put(1 - rank, data.data(), data.size(), {0, 0, 0}, 1));
    EXPECT_EQ(await_event(ranks[1 - rank], Kind::kArrival).bytes, data.size());
  }
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(count_lines(rank, " broke"), 1) << "rank " << rank;
    EXPECT_EQ(count_lines(rank, kMended), 1) << "rank " << rank;
  }
}

}  // namespace
}  // namespace hfr_tests
