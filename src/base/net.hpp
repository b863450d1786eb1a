// Sockets for set-up code: owned descriptors, addresses, and blocking calls that keep a deadline.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.hpp"

namespace hfr {

// Owns one file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// CLOCK_MONOTONIC. All deadlines are absolute values of it.
uint64_t monotonic_ns();

// "10.0.0.1:4000", "[::1]:4000". Numeric once resolved.
struct HostPort {
  std::string host;
  uint16_t port = 0;
};
std::string text(const HostPort& address);
// "host:port" or "[v6]:port"; the port is 1 to 65535 (0 allowed when `any_port`).
Result<HostPort> parse_host_port(const std::string& text, bool any_port = false);

// Numeric address of the interface called `name`, or of the first one up that is not loopback, else
// of loopback. Fails listing the interfaces there are.
Result<std::string> interface_address(const std::string& name);

// Non-blocking, close-on-exec sockets. listen_tcp binds to exactly `address` (port 0: any) and
// returns the descriptor; local_address tells the port. Never listens on every interface.
Result<UniqueFd> listen_tcp(const HostPort& address, int backlog = 4096);
// Retries refused connections until the deadline (the other side may not be up yet).
Result<UniqueFd> connect_tcp(const HostPort& address, const std::string& bind_host,
                             uint64_t deadline_ns);
// One connection that is being made.
class ConnectAttempt {
 public:
  static Result<ConnectAttempt> begin(const HostPort& address, const std::string& bind_host);
  // Ends when it polls as writable.
  int fd() const { return fd_.get(); }
  // Once it has ended: 0, or the error number; ECONNREFUSED when nobody listens there.
  int error() const;
  UniqueFd release() { return std::move(fd_); }

 private:
  ConnectAttempt(UniqueFd fd, int error) : fd_(std::move(fd)), error_(error) {}
  UniqueFd fd_;
  int error_;  // that connect() returned at once
};
// One attempt. Nothing: the machine says that nobody listens there. An error: it could not be
// known.
Result<std::optional<UniqueFd>> connect_once(const HostPort& address, const std::string& bind_host,
                                             uint64_t deadline_ns);
// Waits for one connection. Code::kTimeout at the deadline.
Result<UniqueFd> accept_tcp(int listener, uint64_t deadline_ns);
Result<HostPort> local_address(int fd);
Result<HostPort> remote_address(int fd);

// poll(), which refuses more descriptors than RLIMIT_NOFILE says, and that may have been lowered
// since they were opened: then by select(), which does not ask, as readable and writable.
int poll_all(std::span<pollfd> entries, int timeout_ms);

// Exactly all bytes, or an error: kTimeout at the deadline, kRemoteError when the other side
// closed. `what` names the thing in the sentence. Works on blocking and non-blocking sockets.
Status send_all(int fd, std::span<const std::byte> bytes, uint64_t deadline_ns,
                const std::string& what);
Status recv_all(int fd, std::span<std::byte> bytes, uint64_t deadline_ns, const std::string& what);

// A length (4 bytes, little endian) and as many bytes. recv_frame refuses more than `limit` before
// reading them.
Status send_frame(int fd, std::span<const std::byte> bytes, uint64_t deadline_ns,
                  const std::string& what);
Result<std::vector<std::byte>> recv_frame(int fd, size_t limit, uint64_t deadline_ns,
                                          const std::string& what);

}  // namespace hfr
