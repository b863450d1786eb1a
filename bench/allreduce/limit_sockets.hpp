// The least that two processes joined by one TCP connection can do: each sends its input, receives
// the other's and adds; no headers, no checks, no deadline, sockets polled without pause.
#ifndef HFREDUCE_BENCH_ALLREDUCE_LIMIT_SOCKETS_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_LIMIT_SOCKETS_HPP_

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "limit.hpp"

namespace hfr_bench {

class SocketLimit : public Library {
 public:
  explicit SocketLimit(const Options& options)
      : exchange_(two_ranks()), sum_(options.dtype), piece_(kPiece) {
    bind_to_cpu(options, exchange_.rank);
    connection_ = exchange_.rank == 0 ? accept_peer() : connect_peer();
    int on = 1;
    must(setsockopt(connection_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "setsockopt");
  }

  ~SocketLimit() override { close(connection_); }

  std::string version() const override { return "no library: send, recv and add"; }
  int rank() const override { return exchange_.rank; }
  int num_ranks() const override { return 2; }

  void all_reduce(const void* in, void* out, size_t count) override {
    auto* from = static_cast<const std::byte*>(in);
    auto* to = static_cast<std::byte*>(out);
    size_t bytes = count * sum_.element_bytes();
    size_t sent = 0;
    size_t added = 0;     // whole pieces, but for the last
    size_t in_piece = 0;  // received of the piece that begins at `added`
    while (sent < bytes || added < bytes) {
      // In place, what is added may not be sent any more, so sending stays ahead.
      if (sent < bytes) sent += try_send(from + sent, std::min(kPiece, bytes - sent));
      size_t length = std::min(kPiece, bytes - added);
      if (in_piece < length) in_piece += try_receive(piece_.data() + in_piece, length - in_piece);
      if (length > 0 && in_piece == length && sent >= added + length) {
        void* dst = to + added;
        sum_(&dst, 1, from + added, piece_.data(), length);
        added += length;
        in_piece = 0;
      }
    }
  }

  double max(double value) override {
    double other = 0;
    size_t sent = 0;
    size_t received = 0;
    while (sent < sizeof(value) || received < sizeof(other)) {
      if (sent < sizeof(value)) {
        sent += try_send(reinterpret_cast<std::byte*>(&value) + sent, sizeof(value) - sent);
      }
      if (received < sizeof(other)) {
        received +=
            try_receive(reinterpret_cast<std::byte*>(&other) + received, sizeof(other) - received);
      }
    }
    return std::max(value, other);
  }

 private:
  static constexpr size_t kPiece = size_t{256} << 10;

  static int must(int result, const char* call) {
    if (result < 0) throw std::runtime_error(std::string(call) + ": " + std::strerror(errno));
    return result;
  }

  int accept_peer() {
    int listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    must(bind(listener, reinterpret_cast<sockaddr*>(&address), length), "bind");
    must(listen(listener, 1), "listen");
    must(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    exchange_.publish("port", std::to_string(ntohs(address.sin_port)));
    int connection = must(accept(listener, nullptr, nullptr), "accept");
    close(listener);
    return connection;
  }

  int connect_peer() {
    sockaddr_in address = loopback(std::stoi(exchange_.wait_for("port")));
    int connection = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)), "connect");
    return connection;
  }

  static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  static size_t moved(ssize_t result, const char* call) {
    if (result < 0 && errno == EAGAIN) return 0;
    return static_cast<size_t>(must(static_cast<int>(result), call));
  }

  size_t try_send(const std::byte* bytes, size_t length) const {
    return moved(send(connection_, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL), "send");
  }

  size_t try_receive(std::byte* bytes, size_t length) const {
    ssize_t result = recv(connection_, bytes, length, MSG_DONTWAIT);
    if (result == 0) throw std::runtime_error("the other rank is gone");
    return moved(result, "recv");
  }

  Exchange exchange_;
  Sum sum_;
  std::vector<std::byte> piece_;
  int connection_ = -1;
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_LIMIT_SOCKETS_HPP_
