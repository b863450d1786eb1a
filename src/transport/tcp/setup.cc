#include "transport/tcp/setup.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/cancel.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"

namespace hfr::tcp {
namespace {

constexpr uint64_t kAcceptLookNs = 50'000'000;
constexpr int kSocketBufferBytes = 4 << 20;

Status tune(int fd, const TcpOptions& options) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // Larger than the default, so that a whole chunk is on its way; the system's own limit applies.
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
  if (options.congestion.empty()) return Status();
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options.congestion.data(),
                 static_cast<socklen_t>(options.congestion.size())) != 0) {
    return system_error(
        cat("HFREDUCE_TCP_CONGESTION=", options.congestion,
            " is refused by the kernel (see net.ipv4.tcp_allowed_congestion_control)"),
        errno);
  }
  return Status();
}

// Sockets as their handshakes finish, from any thread.
class Collection {
 public:
  Collection(std::span<const int> peers, int per_peer) : per_peer_(per_peer) {
    for (int peer : peers) sockets_[peer].resize(static_cast<size_t>(per_peer));
  }

  // False for a peer or a connection that is not expected (any more).
  bool add(int peer, int idx, UniqueFd fd) {
    std::lock_guard lock(mutex_);
    auto found = sockets_.find(peer);
    if (found == sockets_.end() || idx < 0 || idx >= per_peer_) return false;
    UniqueFd& slot = found->second[static_cast<size_t>(idx)];
    if (slot.valid()) return false;
    slot = std::move(fd);
    return true;
  }

  void fail(const Status& status) {
    std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
  }
  Status failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

  // Peers that still lack a connection.
  std::vector<int> missing() {
    std::lock_guard lock(mutex_);
    std::vector<int> peers;
    for (const auto& [peer, sockets] : sockets_) {
      if (std::any_of(sockets.begin(), sockets.end(),
                      [](const UniqueFd& fd) { return !fd.valid(); })) {
        peers.push_back(peer);
      }
    }
    return peers;
  }

  std::vector<UniqueFd> take(int peer) { return std::move(sockets_[peer]); }

 private:
  std::mutex mutex_;
  const int per_peer_;
  std::map<int, std::vector<UniqueFd>> sockets_;
  Status failure_;
};

Status exchange_hello(int fd, const Hello& mine, Hello& theirs, bool connecting,
                      uint64_t deadline_ns) {
  const std::string what = "greeting";
  auto send = [&] { return send_all(fd, std::as_bytes(std::span(&mine, 1)), deadline_ns, what); };
  if (connecting) HFR_RETURN_IF_ERROR(send());
  HFR_RETURN_IF_ERROR(
      recv_all(fd, std::as_writable_bytes(std::span(&theirs, 1)), deadline_ns, what));
  HFR_RETURN_IF_ERROR(check_hello(mine, theirs));
  return connecting ? Status() : send();
}

// One outgoing connection, proven and greeted.
Status connect_one(const TcpOptions& options, int peer, int idx, const HostPort& address,
                   uint64_t deadline_ns, Collection& collection) {
  HFR_ASSIGN_OR_RETURN(UniqueFd fd, connect_tcp(address, options.bind_host, deadline_ns));
  HFR_RETURN_IF_ERROR(tune(fd.get(), options));
  auto rank = options.handshake.run(fd.get(), Handshake::Side::kConnecting, deadline_ns);
  if (!rank.ok()) return rank.status();
  if (*rank != peer) return Status(Code::kMismatch, cat("rank ", *rank, " answers there"));
  Hello mine;
  mine.connection_idx = static_cast<uint16_t>(idx);
  mine.num_connections = static_cast<uint16_t>(num_connections(options));
  Hello theirs;
  HFR_RETURN_IF_ERROR(exchange_hello(fd.get(), mine, theirs, true, deadline_ns));
  collection.add(peer, idx, std::move(fd));
  return Status();
}

Status accept_one(const TcpOptions& options, UniqueFd fd, uint64_t deadline_ns,
                  Collection& collection) {
  HFR_RETURN_IF_ERROR(tune(fd.get(), options));
  auto rank = options.handshake.run(fd.get(), Handshake::Side::kAccepting, deadline_ns);
  if (!rank.ok()) {
    options.logger.log(LogLevel::kWarn,
                       "transport refused a connection: ", rank.status().message());
    return Status();
  }
  Hello mine;
  mine.num_connections = static_cast<uint16_t>(num_connections(options));
  Hello theirs;
  HFR_RETURN_IF_ERROR(exchange_hello(fd.get(), mine, theirs, false, deadline_ns));
  if (!collection.add(*rank, theirs.connection_idx, std::move(fd))) {
    options.logger.log(LogLevel::kWarn, "transport refused a connection of rank ", *rank,
                       " that it did not expect");
  }
  return Status();
}

// What a thread does must not throw.
template <typename Body>
Status guarded(Body&& body) {
  try {
    return body();
  } catch (const std::exception&) {
    return status_of_exception();
  }
}

// Threads that make connections, for the time of one call: when it ends early, so do they.
class Helpers {
 public:
  ~Helpers() {
    stop_.set();
    join();
  }

  template <typename Body>
  Status start(Body body) {
    threads_.emplace_back();
    auto thread = start_thread("that connects nodes", [this, body = std::move(body)] {
      CancelScope scope(&stop_);
      body();
    });
    if (!thread.ok()) return thread.status();
    threads_.back() = std::move(*thread);
    return Status();
  }
  void join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    threads_.clear();
  }

 private:
  CancelFlag stop_{CancelScope::current()};
  std::vector<std::thread> threads_;
};

std::string list_ranks(const std::vector<int>& ranks) {
  std::string text;
  for (int rank : ranks) text += cat(text.empty() ? "rank " : ", rank ", rank);
  return text;
}

}  // namespace

Status check_hello(const Hello& mine, const Hello& theirs) {
  if (theirs.magic != Hello::kMagic || theirs.version != Hello::kVersion) {
    return Status(Code::kMismatch,
                  "the other side speaks another version of the transport's protocol");
  }
  if (theirs.num_connections != mine.num_connections) {
    return Status(Code::kMismatch,
                  cat("HFREDUCE_TCP_CONNECTIONS is ", mine.num_connections, " here and ",
                      theirs.num_connections, " there; it must be the same on all ranks"));
  }
  return Status();
}

int num_connections(const TcpOptions& options) {
  return options.connections == 0 ? kDefaultTcpConnections : options.connections;
}

Result<UniqueFd> open_listener(const TcpOptions& options) {
  return listen_tcp({options.bind_host, 0});
}

Result<std::vector<PeerSockets>> connect_peers(const TcpOptions& options, int listener,
                                               std::span<const int> peers,
                                               std::span<const std::vector<std::byte>> addresses,
                                               uint64_t deadline_ns) {
  const int per_peer = num_connections(options);
  Collection collection(peers, per_peer);
  Helpers helpers;
  for (size_t i = 0; i < peers.size(); ++i) {
    const int peer = peers[i];
    if (peer < options.rank) continue;
    std::string at(reinterpret_cast<const char*>(addresses[i].data()), addresses[i].size());
    auto address = parse_host_port(at);
    if (!address.ok()) {
      collection.fail(
          Status(Code::kInternalError, cat("rank ", peer, " published no address: ", at)));
      break;
    }
    for (int idx = 0; idx < per_peer; ++idx) {
      HFR_RETURN_IF_ERROR(helpers.start([&, peer, idx, address = *address] {
        Status status = guarded(
            [&] { return connect_one(options, peer, idx, address, deadline_ns, collection); });
        if (!status.ok()) {
          collection.fail(
              Status(status.code(), cat("rank ", options.rank, " cannot connect to rank ", peer,
                                        " at ", text(address), ": ", status.message())));
        }
      }));
    }
  }

  std::vector<int> missing;
  Status failure;
  while (failure.ok() && !(missing = collection.missing()).empty()) {
    failure = collection.failure();
    uint64_t now = monotonic_ns();
    if (!failure.ok()) break;
    if (now >= deadline_ns) {
      failure = Status(Code::kTimeout, cat("rank ", options.rank, " waited for connections with ",
                                           list_ranks(missing), " until the deadline"));
      break;
    }
    if (CancelScope::cancelled()) {
      failure = Status(Code::kAborted, "connecting nodes: cancelled");
      break;
    }
    auto fd = accept_tcp(listener, std::min(deadline_ns, now + kAcceptLookNs));
    if (!fd.ok()) {
      if (fd.status().code() != Code::kTimeout) failure = fd.status();
      continue;
    }
    uint64_t patience = std::min(deadline_ns, now + options.handshake_ns);
    auto held = std::make_shared<UniqueFd>(std::move(*fd));
    HFR_RETURN_IF_ERROR(helpers.start([&, held, patience] {
      Status status =
          guarded([&] { return accept_one(options, std::move(*held), patience, collection); });
      if (status.code() == Code::kMismatch || status.code() == Code::kOutOfMemory)
        collection.fail(status);
    }));
  }
  if (!failure.ok()) return failure;
  helpers.join();
  std::vector<PeerSockets> result;
  for (int peer : peers) result.push_back({peer, collection.take(peer)});
  return result;
}

}  // namespace hfr::tcp
