#include "base/net.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

#include "base/cancel.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

// How often a blocked call looks whether it was cancelled.
constexpr uint64_t kCancelLookMs = 50;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<SocketAddress> resolve(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int error = getaddrinfo(address.host.c_str(), cat(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return Status(Code::kSystemError,
                  cat("cannot resolve '", address.host, "': ", gai_strerror(error)));
  }
  SocketAddress result;
  std::memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.length = found->ai_addrlen;
  freeaddrinfo(found);
  return result;
}

Result<HostPort> numeric(const sockaddr_storage& storage, socklen_t length) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  int error = getnameinfo(reinterpret_cast<const sockaddr*>(&storage), length, host.data(),
                          host.size(), port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
  if (error != 0)
    return Status(Code::kSystemError, cat("cannot read an address: ", gai_strerror(error)));
  return HostPort{host.data(), static_cast<uint16_t>(std::stoi(port.data()))};
}

// Waits until `fd` is ready for `events`. Code::kTimeout at the deadline.
Status wait_ready(int fd, short events, uint64_t deadline_ns, const std::string& what) {
  while (true) {
    if (CancelScope::cancelled()) return Status(Code::kAborted, cat(what, ": cancelled"));
    uint64_t now = monotonic_ns();
    if (now >= deadline_ns) return Status(Code::kTimeout, cat(what, ": deadline passed"));
    pollfd entry{fd, events, 0};
    int timeout_ms =
        static_cast<int>(std::min<uint64_t>((deadline_ns - now) / 1'000'000 + 1, kCancelLookMs));
    int ready = poll_all({&entry, 1}, timeout_ms);
    if (ready > 0) return Status();
    if (ready < 0 && errno != EINTR) return system_error(what, errno);
  }
}

// A set of any size for select(): glibc's own ends at 1024.
class DescriptorSet {
 public:
  explicit DescriptorSet(int end) : words_(static_cast<size_t>(end) / NFDBITS + 1) {}
  void add(int fd) { word(fd) |= bit(fd); }
  bool has(int fd) { return (word(fd) & bit(fd)) != 0; }
  fd_set* get() { return reinterpret_cast<fd_set*>(words_.data()); }

 private:
  static fd_mask bit(int fd) { return static_cast<fd_mask>(1UL << (fd % NFDBITS)); }
  fd_mask& word(int fd) { return words_[static_cast<size_t>(fd / NFDBITS)]; }
  std::vector<fd_mask> words_;
};

int select_all(std::span<pollfd> entries, int timeout_ms) {
  int end = 0;
  for (const pollfd& entry : entries) end = std::max(end, entry.fd + 1);
  DescriptorSet readable(end), writable(end);
  for (const pollfd& entry : entries) {
    if (entry.fd < 0) continue;
    if ((entry.events & POLLIN) != 0) readable.add(entry.fd);
    if ((entry.events & POLLOUT) != 0) writable.add(entry.fd);
  }
  timeval timeout{timeout_ms / 1000, timeout_ms % 1000 * 1000};
  const int ready =
      ::select(end, readable.get(), writable.get(), nullptr, timeout_ms < 0 ? nullptr : &timeout);
  for (pollfd& entry : entries) {
    entry.revents = 0;
    if (entry.fd < 0 || ready <= 0) continue;
    if (readable.has(entry.fd)) entry.revents |= POLLIN;
    if (writable.has(entry.fd)) entry.revents |= POLLOUT;
  }
  return ready;
}

void pause_ms(long ms) {
  timespec span{ms / 1000, (ms % 1000) * 1'000'000};
  nanosleep(&span, nullptr);
}

// How a connection attempt ended: 0 or an error number. A connection to a free ephemeral port of
// this machine can meet itself: then, too, nobody listens there.
int attempt_error(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return error;
  auto local = local_address(fd);
  auto peer = remote_address(fd);
  if (local.ok() && peer.ok() && local->host == peer->host && local->port == peer->port) {
    return ECONNREFUSED;
  }
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return 0;
}

// One attempt; the error number is 0, or why nobody answered (yet).
Result<std::pair<UniqueFd, int>> try_connect(const HostPort& address, const std::string& bind_host,
                                             uint64_t deadline_ns, const std::string& what) {
  HFR_ASSIGN_OR_RETURN(ConnectAttempt attempt, ConnectAttempt::begin(address, bind_host));
  HFR_RETURN_IF_ERROR(wait_ready(attempt.fd(), POLLOUT, deadline_ns, what));
  const int error = attempt.error();
  if (error == 0 || error == ECONNREFUSED || error == ETIMEDOUT || error == EAGAIN ||
      error == ECONNRESET) {
    return std::make_pair(attempt.release(), error);
  }
  return system_error(what, error);
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

std::string text(const HostPort& address) {
  bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? cat("[", address.host, "]:", address.port) : cat(address.host, ":", address.port);
}

Result<HostPort> parse_host_port(const std::string& text, bool any_port) {
  Status bad(Code::kInvalidArgument, cat("'", text, "' is not host:port, with a port from ",
                                         any_port ? 0 : 1, " to 65535"));
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad;
  std::string host = text.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return bad;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return bad;
  }
  if (host.find_first_of("[]") != std::string::npos) return bad;
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  uint32_t port = 0;
  auto [stop, error] = std::from_chars(begin, end, port);
  if (error != std::errc() || stop != end || begin == end || port > 65535 ||
      (port == 0 && !any_port)) {
    return bad;
  }
  return HostPort{host, static_cast<uint16_t>(port)};
}

Result<std::string> interface_address(const std::string& name) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return system_error("getifaddrs", errno);
  std::string named, outside, loopback, names;
  // IPv4 before IPv6: its addresses need no scope.
  for (int family : {AF_INET, AF_INET6}) {
    for (ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
      if ((entry->ifa_flags & IFF_UP) == 0) continue;
      socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      sockaddr_storage storage{};
      std::memcpy(&storage, entry->ifa_addr, length);
      auto address = numeric(storage, length);
      if (!address.ok()) continue;
      std::string& slot = (entry->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : outside;
      if (slot.empty()) slot = address->host;
      if (name == entry->ifa_name && named.empty()) named = address->host;
      std::string quoted = cat(" ", entry->ifa_name);
      if (names.find(quoted) == std::string::npos) names += quoted;
    }
  }
  freeifaddrs(list);
  if (!name.empty()) {
    if (named.empty()) {
      return Status(Code::kInvalidArgument, cat("HFREDUCE_SOCKET_IFNAME=", name,
                                                ": no such interface is up; there are:", names));
    }
    return named;
  }
  if (!outside.empty()) return outside;
  if (!loopback.empty()) return loopback;
  return Status(Code::kSystemError, "no network interface is up, not even loopback");
}

Result<UniqueFd> listen_tcp(const HostPort& address, int backlog) {
  HFR_ASSIGN_OR_RETURN(SocketAddress local, resolve(address));
  UniqueFd fd(socket(local.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("socket", errno);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd.get(), local.get(), local.length) != 0) {
    return system_error(cat("cannot listen on ", text(address)), errno);
  }
  if (listen(fd.get(), backlog) != 0) return system_error(cat("listen on ", text(address)), errno);
  return fd;
}

Result<ConnectAttempt> ConnectAttempt::begin(const HostPort& address,
                                             const std::string& bind_host) {
  HFR_ASSIGN_OR_RETURN(SocketAddress remote, resolve(address));
  UniqueFd fd(socket(remote.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("socket", errno);
  if (!bind_host.empty()) {
    HFR_ASSIGN_OR_RETURN(SocketAddress local, resolve({bind_host, 0}));
    if (bind(fd.get(), local.get(), local.length) != 0) {
      return system_error(cat("cannot bind to ", bind_host), errno);
    }
  }
  int error = 0;
  if (connect(fd.get(), remote.get(), remote.length) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    error = errno;
  }
  return ConnectAttempt(std::move(fd), error);
}

int ConnectAttempt::error() const { return error_ != 0 ? error_ : attempt_error(fd_.get()); }

Result<UniqueFd> connect_tcp(const HostPort& address, const std::string& bind_host,
                             uint64_t deadline_ns) {
  std::string what = cat("connecting to ", text(address));
  long backoff_ms = 1;
  while (true) {
    HFR_ASSIGN_OR_RETURN(auto attempt, try_connect(address, bind_host, deadline_ns, what));
    if (attempt.second == 0) return std::move(attempt.first);
    if (monotonic_ns() + static_cast<uint64_t>(backoff_ms) * 1'000'000 >= deadline_ns) {
      return Status(Code::kTimeout,
                    cat(what, ": ", std::strerror(attempt.second), ", and the deadline passed"));
    }
    if (CancelScope::cancelled()) return Status(Code::kAborted, cat(what, ": cancelled"));
    pause_ms(backoff_ms);
    backoff_ms = std::min(backoff_ms * 2, 100L);
  }
}

Result<std::optional<UniqueFd>> connect_once(const HostPort& address, const std::string& bind_host,
                                             uint64_t deadline_ns) {
  std::string what = cat("connecting to ", text(address));
  HFR_ASSIGN_OR_RETURN(auto attempt, try_connect(address, bind_host, deadline_ns, what));
  if (attempt.second == 0) return std::optional<UniqueFd>(std::move(attempt.first));
  if (attempt.second == ECONNREFUSED) return std::optional<UniqueFd>();
  return system_error(what, attempt.second);
}

Result<UniqueFd> accept_tcp(int listener, uint64_t deadline_ns) {
  while (true) {
    UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      int on = 1;
      setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return fd;
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      return system_error("accepting a connection", errno);
    }
    HFR_RETURN_IF_ERROR(wait_ready(listener, POLLIN, deadline_ns, "waiting for a connection"));
  }
}

Result<HostPort> local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return system_error("getsockname", errno);
  }
  return numeric(storage, length);
}

Result<HostPort> remote_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return system_error("getpeername", errno);
  }
  return numeric(storage, length);
}

int poll_all(std::span<pollfd> entries, int timeout_ms) {
  const int ready = ::poll(entries.data(), entries.size(), timeout_ms);
  if (ready >= 0 || errno != EINVAL) return ready;
  return select_all(entries, timeout_ms);
}

Status send_all(int fd, std::span<const std::byte> bytes, uint64_t deadline_ns,
                const std::string& what) {
  while (!bytes.empty()) {
    ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return Status(Code::kRemoteError, cat(what, ": the other side closed the connection"));
    } else if (errno == EAGAIN) {
      HFR_RETURN_IF_ERROR(wait_ready(fd, POLLOUT, deadline_ns, what));
    } else if (errno != EINTR) {
      return system_error(what, errno);
    }
  }
  return Status();
}

Status recv_all(int fd, std::span<std::byte> bytes, uint64_t deadline_ns, const std::string& what) {
  while (!bytes.empty()) {
    ssize_t got = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got > 0) {
      bytes = bytes.subspan(static_cast<size_t>(got));
    } else if (got == 0 || errno == ECONNRESET) {
      return Status(Code::kRemoteError, cat(what, ": the other side closed the connection"));
    } else if (errno == EAGAIN) {
      HFR_RETURN_IF_ERROR(wait_ready(fd, POLLIN, deadline_ns, what));
    } else if (errno != EINTR) {
      return system_error(what, errno);
    }
  }
  return Status();
}

Status send_frame(int fd, std::span<const std::byte> bytes, uint64_t deadline_ns,
                  const std::string& what) {
  auto size = static_cast<uint32_t>(bytes.size());
  std::array<std::byte, 4> head{};
  for (size_t i = 0; i < head.size(); ++i) head[i] = static_cast<std::byte>(size >> (8 * i));
  std::vector<std::byte> frame(head.begin(), head.end());
  frame.insert(frame.end(), bytes.begin(), bytes.end());
  return send_all(fd, frame, deadline_ns, what);
}

Result<std::vector<std::byte>> recv_frame(int fd, size_t limit, uint64_t deadline_ns,
                                          const std::string& what) {
  std::array<std::byte, 4> head{};
  HFR_RETURN_IF_ERROR(recv_all(fd, head, deadline_ns, what));
  size_t size = 0;
  for (size_t i = 0; i < head.size(); ++i) size |= std::to_integer<size_t>(head[i]) << (8 * i);
  if (size > limit) {
    return Status(Code::kRemoteError,
                  cat(what, ": a frame of ", size, " bytes, at most ", limit, " are allowed"));
  }
  std::vector<std::byte> bytes(size);
  HFR_RETURN_IF_ERROR(recv_all(fd, bytes, deadline_ns, what));
  return bytes;
}

}  // namespace hfr
