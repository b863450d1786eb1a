// Puts of several sizes both ways between two verbs transports of this process. What happens
// between the marks "steady begins" and "steady ends" is the datapath's: strace sees its system
// calls, and its allocations are counted. datapath_test.cc runs this program and judges.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "../transport/pair.hpp"
#include "allocations.hpp"

namespace {

constexpr std::array<size_t, 4> kSizes = {8, 200, 4096, 65'536};
constexpr int kWarmUpRounds = 40;
constexpr int kRounds = 50;

struct Side {
  std::vector<std::byte> memory = std::vector<std::byte>(8 * kSizes.back());
  std::byte* source(size_t i) { return memory.data() + i * kSizes.back(); }
  std::byte* landing(size_t i) { return memory.data() + (4 + i) * kSizes.back(); }
};

// One put of each size each way, and all of its events.
bool round(hfr_tests::Ranks& ranks, std::array<Side, 2>& sides) {
  for (int rank = 0; rank < 2; ++rank) {
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const hfr::PutTag tag{static_cast<uint32_t>(i), i, i};
      if (!ranks[rank].put(1 - rank, sides[static_cast<size_t>(rank)].source(i), kSizes[i], tag,
                           i)) {
        return false;
      }
    }
  }
  for (size_t missing = 4 * kSizes.size(); missing > 0;) {
    for (int rank = 0; rank < 2; ++rank) {
      std::array<hfr::TransportEvent, 8> events;
      const size_t count = ranks[rank].poll(events);
      for (size_t e = 0; e < count; ++e) {
        if (events[e].kind == hfr::TransportEvent::Kind::kPeerLost) return false;
      }
      missing -= count;
    }
  }
  return true;
}

// A system call that does nothing but show in a trace.
void mark(const char* text) {
  if (write(-1, text, std::strlen(text)) >= 0) std::abort();
}

}  // namespace

int main() {
  std::array<Side, 2> sides;
  hfr_tests::Ranks ranks({"verbs", 1, true}, 2);
  ranks.connect();
  for (int rank = 0; rank < 2; ++rank) {
    Side& side = sides[static_cast<size_t>(rank)];
    const hfr::Status status = ranks[rank].register_memory(side.memory.data(), side.memory.size());
    if (!status.ok()) {
      std::printf("%s\n", status.message().c_str());
      return 1;
    }
    for (size_t i = 0; i < kSizes.size(); ++i) {
      ranks[rank].set_landing(static_cast<uint32_t>(i), side.landing(i), kSizes[i]);
    }
  }
  bool ok = true;
  for (int i = 0; i < kWarmUpRounds && ok; ++i) ok = round(ranks, sides);
  const uint64_t before = hfr_tests::num_allocations();
  mark("steady begins");
  for (int i = 0; i < kRounds && ok; ++i) ok = round(ranks, sides);
  mark("steady ends");
  const uint64_t allocations = hfr_tests::num_allocations() - before;
  if (!ok) {
    std::printf("lost: %s %s\n", ranks[0].peer_error(1).c_str(), ranks[1].peer_error(0).c_str());
    return 1;
  }
  std::printf("allocations %llu puts %zu\n", static_cast<unsigned long long>(allocations),
              2 * kRounds * kSizes.size());
  return before > 0 ? 0 : 1;  // the counter counts
}
