// Two or more ranks' transports, connected, each to be driven by the test's own thread.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/net.hpp"
#include "bootstrap/auth.hpp"
#include "ports/transport.hpp"
#include "transport/loopback/transport.hpp"
#include "transport/tcp/transport.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr_tests {

constexpr uint64_t kPatienceNs = 20'000'000'000;

struct TransportKind {
  const char* name;
  int connections;  // of tcp and verbs, per peer; 0: loopback
  bool is_verbs = false;
};
// Why transports of this kind cannot be made here; empty when they can.
inline std::string missing(const TransportKind& kind) {
  if (!kind.is_verbs) return "";
  auto rails = hfr::find_verbs_rails("", {});
  return rails.ok() ? "" : rails.status().message();
}

inline void PrintTo(const TransportKind& kind, std::ostream* out) { *out << kind.name; }

class Ranks {
 public:
  // `adjust` may change a rank's options of verbs.
  using Adjust = std::function<void(int rank, hfr::VerbsOptions&)>;

  Ranks(const TransportKind& kind, int num_ranks, Adjust adjust = {})
      : kind_(kind),
        adjust_(std::move(adjust)),
        secret_(hfr::Secret::random()),
        num_ranks_(num_ranks) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      handshakes_.push_back(
          std::make_unique<hfr::SecretHandshake>(secret_, "transport test", rank));
      transports_.push_back(make(rank));
      auto address = transports_.back()->listen();
      EXPECT_TRUE(address.ok()) << address.status().message();
      addresses_.push_back(*address);
    }
  }

  // Every rank with every other.
  void connect() {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks_; ++rank) {
      threads.emplace_back([this, rank] {
        hfr::Status status = connect_one(rank, kPatienceNs);
        EXPECT_TRUE(status.ok()) << status.message();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  hfr::Status connect_one(int rank, uint64_t patience_ns) {
    std::vector<int> peers;
    std::vector<std::vector<std::byte>> addresses;
    for (int peer = 0; peer < num_ranks_; ++peer) {
      if (peer == rank) continue;
      peers.push_back(peer);
      addresses.push_back(addresses_[static_cast<size_t>(peer)]);
    }
    return (*this)[rank].connect(peers, addresses, hfr::monotonic_ns() + patience_ns);
  }

  hfr::Transport& operator[](int rank) { return *transports_[static_cast<size_t>(rank)]; }
  std::vector<std::byte>& address(int rank) { return addresses_[static_cast<size_t>(rank)]; }
  void destroy(int rank) { transports_[static_cast<size_t>(rank)].reset(); }

 private:
  std::unique_ptr<hfr::Transport> make(int rank) {
    if (kind_.is_verbs) return make_verbs(rank);
    if (kind_.connections == 0) return hfr::make_loopback_transport(rank);
    hfr::TcpOptions options{.bind_host = "127.0.0.1",
                            .rank = rank,
                            .handshake = *handshakes_[static_cast<size_t>(rank)],
                            .connections = kind_.connections,
                            .logger = {}};
    return hfr::make_tcp_transport(std::move(options));
  }

  // Ranks take the machine's rails in turn, so that with two of them bytes cross the wire.
  std::unique_ptr<hfr::Transport> make_verbs(int rank) {
    auto rails = hfr::find_verbs_rails("", {});
    hfr::VerbsOptions options{.bind_host = "127.0.0.1",
                              .rank = rank,
                              .handshake = *handshakes_[static_cast<size_t>(rank)],
                              .rails = {(*rails)[static_cast<size_t>(rank) % rails->size()]},
                              .queue_pairs = kind_.connections,
                              .logger = {}};
    if (adjust_) adjust_(rank, options);
    return hfr::make_verbs_transport(std::move(options));
  }

  const TransportKind kind_;
  const Adjust adjust_;
  hfr::Secret secret_;
  const int num_ranks_;
  std::vector<std::unique_ptr<hfr::SecretHandshake>> handshakes_;
  std::vector<std::unique_ptr<hfr::Transport>> transports_;
  std::vector<std::vector<std::byte>> addresses_;
};

// The next events of `transport`: at least one, or the test fails for lack of patience.
inline std::vector<hfr::TransportEvent> next_events(hfr::Transport& transport, size_t most = 32) {
  std::vector<hfr::TransportEvent> events(most);
  const uint64_t until = hfr::monotonic_ns() + kPatienceNs;
  while (hfr::monotonic_ns() < until) {
    size_t count = transport.poll(events);
    if (count > 0) {
      events.resize(count);
      return events;
    }
    std::this_thread::yield();
  }
  ADD_FAILURE() << "nothing came";
  return {};
}

// Polls until an event of `kind` comes, and returns it; others are dropped.
inline hfr::TransportEvent await_event(hfr::Transport& transport, hfr::TransportEvent::Kind kind) {
  while (true) {
    auto events = next_events(transport, 1);
    if (events.empty()) return {};
    if (events[0].kind == kind) return events[0];
  }
}

}  // namespace hfr_tests
