// SocketLink: a Link (tools/link_measure.hpp) over a bare TCP socket: no headers, no checks, polled
// without pause. What the TCP transport is held against.
#ifndef HFREDUCE_BENCH_TRANSPORT_SOCKET_LINK_HPP_
#define HFREDUCE_BENCH_TRANSPORT_SOCKET_LINK_HPP_

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/net.hpp"

namespace hfr_bench {

class SocketLink {
 public:
  // Non-blocking, without Nagle's delay.
  SocketLink(hfr::UniqueFd socket, size_t most_bytes)
      : socket_(std::move(socket)), source_(most_bytes, 1), landing_(most_bytes) {}

  // One message at a time: the kernel's buffer is the queue.
  bool send(size_t bytes) {
    if (unsent_ > 0) return false;
    unsent_ = length_ = bytes;
    flush();
    return true;
  }

  bool progress() {
    flush();
    const size_t room = std::min(landing_.size(), expected_ - std::min(expected_, received_));
    if (room == 0) return error_ == 0;
    const ssize_t got = recv(socket_.get(), landing_.data(), room, MSG_DONTWAIT);
    if (got > 0) received_ += static_cast<size_t>(got);
    if (got == 0) error_ = ECONNRESET;
    if (got < 0 && errno != EAGAIN) error_ = errno;
    return error_ == 0;
  }

  uint64_t num_sent() const { return num_sent_; }
  void expect(size_t bytes) { expected_ = bytes; }
  bool take() {
    if (received_ < expected_) return false;
    received_ -= expected_;
    return true;
  }
  std::string error() const { return error_ == 0 ? "" : std::strerror(error_); }

 private:
  void flush() {
    if (unsent_ == 0) return;
    const ssize_t put = ::send(socket_.get(), source_.data() + (length_ - unsent_), unsent_,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno != EAGAIN) error_ = errno;
    if (put <= 0) return;
    unsent_ -= static_cast<size_t>(put);
    if (unsent_ == 0) ++num_sent_;
  }

  hfr::UniqueFd socket_;
  std::vector<char> source_;
  std::vector<char> landing_;
  size_t length_ = 0;  // of the message that leaves
  size_t unsent_ = 0;
  uint64_t num_sent_ = 0;
  size_t expected_ = 0;
  size_t received_ = 0;  // and not taken
  int error_ = 0;
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_TRANSPORT_SOCKET_LINK_HPP_
