#include "transport/tcp/transport.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <map>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "transport/tcp/endpoint.hpp"
#include "transport/tcp/setup.hpp"

namespace hfr {
namespace {

using tcp::Connection;
using tcp::Endpoint;

// Up to here reading sockets is cheaper than asking which are readable, and no socket is
// watched: that would cost each packet a microsecond.
constexpr size_t kMostUnasked = 3;
// Of polls with a hint: then the others are read as well, who may be gone.
constexpr uint32_t kPollsPerFullRead = 8;

class TcpTransport : public Transport {
 public:
  explicit TcpTransport(TcpOptions options) : options_(std::move(options)) {}

  TransportCapabilities capabilities() const override {
    return {"tcp", size_t{512} << 10, Connection::kInlineBytes};
  }

  Result<std::vector<std::byte>> listen() override {
    HFR_ASSIGN_OR_RETURN(listener_, tcp::open_listener(options_));
    HFR_ASSIGN_OR_RETURN(HostPort address, local_address(listener_.get()));
    std::string at = text(address);
    auto bytes = std::as_bytes(std::span(at));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }

  Status connect(std::span<const int> peers, std::span<const std::vector<std::byte>> addresses,
                 uint64_t deadline_ns) override {
    HFR_ASSIGN_OR_RETURN(
        auto sockets, tcp::connect_peers(options_, listener_.get(), peers, addresses, deadline_ns));
    listener_.reset();
    endpoints_.reserve(sockets.size());
    for (tcp::PeerSockets& peer : sockets) {
      by_rank_[peer.peer] = endpoints_.size();
      endpoints_.emplace_back(peer.peer, std::move(peer.sockets), landings_);
    }
    for (Endpoint& endpoint : endpoints_) {
      for (Connection& connection : endpoint.connections()) connections_.push_back(&connection);
    }
    return reads_unasked() ? Status() : watch_connections();
  }

  void set_landing(uint32_t number, void* memory, size_t bytes) override {
    landings_.set(number, memory, bytes);
  }

  bool put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) override {
    auto found = by_rank_.find(peer);
    return found != by_rank_.end() && !stopped_ &&
           endpoints_[found->second].put(src, bytes, tag, token);
  }

  void expect(int peer) override { expected_ = peer; }

  size_t poll(std::span<TransportEvent> events) override {
    if (stopped_) return 0;
    const std::optional<int> expected = std::exchange(expected_, std::nullopt);
    if (reads_unasked()) {
      const bool all = !expected || ++num_hinted_ % kPollsPerFullRead == 0;
      for (Endpoint& endpoint : endpoints_) {
        if (!all && endpoint.peer() != *expected) continue;
        for (Connection& connection : endpoint.connections()) mark(connection);
      }
    } else {
      mark_readable(0);
    }
    size_t count = 0;
    // Another endpoint first each time, so that a busy one does not keep the events to itself.
    first_ = endpoints_.empty() ? 0 : (first_ + 1) % endpoints_.size();
    for (size_t i = 0; i < endpoints_.size() && count < events.size(); ++i) {
      count += endpoints_[(first_ + i) % endpoints_.size()].poll(events.subspan(count));
    }
    return count;
  }

  void sleep(uint64_t timeout_ns) override {
    num_hinted_ = kPollsPerFullRead - 1;  // whoever ends it is read
    for (Endpoint& endpoint : endpoints_) {
      if (endpoint.has_work()) return;
    }
    bool unsent = std::any_of(connections_.begin(), connections_.end(),
                              [](const Connection* c) { return c->has_unsent(); });
    if (unsent) timeout_ns = std::min<uint64_t>(timeout_ns, kUnsentSleepNs);
    timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000),
                     static_cast<long>(timeout_ns % 1'000'000'000)};
    std::array<pollfd, kMostUnasked> entries;
    nfds_t num_entries = 0;
    if (reads_unasked()) {
      for (const Connection* connection : connections_) {
        if (!connection->ended()) entries[num_entries++] = {connection->fd(), POLLIN, 0};
      }
    } else {
      entries[num_entries++] = {epoll_.get(), POLLIN, 0};
    }
    ppoll(entries.data(), num_entries, &timeout, nullptr);
  }

  // Bytes move in put() and poll() only.
  void stop() override { stopped_ = true; }

  std::string peer_error(int peer) const override {
    auto found = by_rank_.find(peer);
    return found == by_rank_.end() ? "no connection with it" : endpoints_[found->second].error();
  }

 private:
  static constexpr uint64_t kUnsentSleepNs = 50'000;

  static void mark(Connection& connection) {
    if (!connection.ended()) connection.mark_readable();
  }

  bool reads_unasked() const { return connections_.size() <= kMostUnasked; }

  Status watch_connections() {
    epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_.valid()) return system_error("epoll_create1", errno);
    for (size_t i = 0; i < connections_.size(); ++i) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLRDHUP;
      event.data.u64 = i;
      if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connections_[i]->fd(), &event) != 0) {
        return system_error("watching a socket", errno);
      }
    }
    return Status();
  }

  void mark_readable(int timeout_ms) {
    std::array<epoll_event, 64> ready;
    int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
      mark(*connections_[ready[static_cast<size_t>(i)].data.u64]);
    }
  }

  TcpOptions options_;
  UniqueFd listener_;
  UniqueFd epoll_;
  LandingTable landings_;
  std::vector<Endpoint> endpoints_;
  std::vector<Connection*> connections_;
  std::map<int, size_t> by_rank_;
  std::optional<int> expected_;  // of the next poll; nothing: anybody
  uint32_t num_hinted_ = 0;
  size_t first_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::unique_ptr<Transport> make_tcp_transport(TcpOptions options) {
  return std::make_unique<TcpTransport>(std::move(options));
}

}  // namespace hfr
