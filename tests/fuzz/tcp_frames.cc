// What a peer sends on its TCP connections once its membership is proven: a greeting, then frames,
// over one connection or two that run ahead of each other.
#include <sys/socket.h>

#include <array>
#include <vector>

#include "input.hpp"
#include "transport/tcp/endpoint.hpp"
#include "transport/tcp/setup.hpp"

using namespace hfr::tcp;

namespace {

constexpr std::byte kGuard{0xa5};

// Landings 0 to 2 of 0, 100 and 70,000 bytes, with a guarded byte behind each.
class Landings {
 public:
  Landings() {
    for (uint32_t i = 0; i < kSizes.size(); ++i) {
      memory_[i].assign(kSizes[i] + 1, kGuard);
      table_.set(i, memory_[i].data(), kSizes[i]);
    }
  }
  const hfr::LandingTable& table() const { return table_; }
  size_t size(uint32_t landing) const { return kSizes.at(landing); }
  bool whole() const {
    for (const auto& landing : memory_) {
      if (landing.back() != kGuard) return false;
    }
    return true;
  }

 private:
  static constexpr std::array<size_t, 3> kSizes = {0, 100, 70'000};
  std::array<std::vector<std::byte>, kSizes.size()> memory_;
  hfr::LandingTable table_;
};

// A connection's two ends.
struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    hfr_fuzz::require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    near = hfr::UniqueFd(ends[0]);
    far = hfr::UniqueFd(ends[1]);
  }
  hfr::UniqueFd near, far;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hfr_fuzz::Input input(data, size);
  const Hello mine{.num_connections = static_cast<uint16_t>(1 + input.value<uint8_t>() % 2)};
  (void)check_hello(mine, input.value<Hello>());

  Landings landings;
  std::vector<hfr::UniqueFd> sockets, peer;
  for (int i = 0; i < mine.num_connections; ++i) {
    Pipe pipe;
    sockets.push_back(std::move(pipe.near));
    peer.push_back(std::move(pipe.far));
  }
  Endpoint endpoint(1, std::move(sockets), landings.table());
  auto turn = [&] {
    std::array<hfr::TransportEvent, 4> events;
    for (size_t count = 1; count > 0;) {
      for (Connection& connection : endpoint.connections()) connection.mark_readable();
      count = endpoint.poll(events);
      for (size_t i = 0; i < count; ++i) {
        if (events[i].kind != hfr::TransportEvent::Kind::kArrival) continue;
        hfr_fuzz::require(events[i].bytes <= landings.size(events[i].tag.landing));
      }
    }
  };
  // Pieces of some bytes: a byte says how many, and to which connection.
  while (!input.empty()) {
    const auto how = input.value<uint8_t>();
    const auto piece = input.bytes(size_t{1} + how % 128);
    const int fd = peer[how / 128 % peer.size()].get();
    if (send(fd, piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
    turn();
  }
  peer.clear();
  turn();
  hfr_fuzz::require(landings.whole());
  return 0;
}
