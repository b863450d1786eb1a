#include "comm/page_server.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

namespace hfr {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr uint64_t kLongNs = 60'000'000'000;

TEST(PageRequest, IsWhatTheFirstLineSays) {
  const std::vector<std::pair<std::string, PageRequest>> cases = {
      {"", PageRequest::kUnfinished},
      {"GET /met", PageRequest::kUnfinished},
      {"GET /metrics HTTP/1.1\r\nHost: x\r\n", PageRequest::kUnfinished},
      {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", PageRequest::kGet},
      {"GET / HTTP/1.0\n\n", PageRequest::kGet},
      {"GET /metrics?name=x HTTP/1.0\r\n\r\n", PageRequest::kGet},
      {"HEAD /metrics HTTP/1.0\r\n\r\n", PageRequest::kHead},
      {"GET /metrics/more HTTP/1.0\r\n\r\n", PageRequest::kOtherPath},
      {"GET http://elsewhere/ HTTP/1.0\r\n\r\n", PageRequest::kOtherPath},
      {"POST /metrics HTTP/1.0\r\n\r\nbody", PageRequest::kOtherMethod},
      {"get /metrics HTTP/1.0\r\n\r\n", PageRequest::kOtherMethod},
      {"\r\n\r\n", PageRequest::kMalformed},
      {"GET\n\n", PageRequest::kMalformed},
      {"GET /metrics\r\n\r\n", PageRequest::kMalformed},  // HTTP/0.9
      {"GET /metrics FTP/1.0\r\n\r\n", PageRequest::kMalformed},
      {std::string("GET /\0 HTTP/1.0\r\n\r\n", 20), PageRequest::kMalformed},
      {"\x16\x03\x01", PageRequest::kMalformed},  // TLS
  };
  for (const auto& [bytes, expected] : cases)
    EXPECT_EQ(read_page_request(bytes), expected) << bytes;
}

class PageServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(listener.ok());
    address_ = *local_address(listener->get());
    auto server = PageServer::start(std::move(*listener), [this] {
      ++num_pages_;
      return page_;
    });
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
  }

  UniqueFd connect() const {
    auto fd = connect_tcp(address_, "", monotonic_ns() + kLongNs);
    EXPECT_TRUE(fd.ok()) << fd.status().message();
    return std::move(*fd);
  }
  static void send(const UniqueFd& fd, const std::string& text) {
    EXPECT_TRUE(
        send_all(fd.get(), std::as_bytes(std::span(text)), monotonic_ns() + kLongNs, "sending")
            .ok());
  }
  // All until the server closes.
  static std::string receive(const UniqueFd& fd) {
    std::string text;
    std::byte byte;
    while (recv_all(fd.get(), std::span(&byte, 1), monotonic_ns() + kLongNs, "receiving").ok())
      text += static_cast<char>(byte);
    return text;
  }
  std::string ask(const std::string& request) const {
    UniqueFd fd = connect();
    send(fd, request);
    return receive(fd);
  }
  void expect_service() const {
    EXPECT_THAT(ask("GET /metrics HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 200 OK\r\n"));
  }

  std::string page_ = "the page\n";
  std::atomic<int> num_pages_{0};
  HostPort address_;
  std::unique_ptr<PageServer> server_;
};

TEST_F(PageServerTest, AnswersWithThePage) {
  const std::string answer = ask("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.0 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nthe page\n"));
  const std::string head = ask("HEAD / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST_F(PageServerTest, AnswersWithErrors) {
  EXPECT_THAT(ask("GET /secret HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 404 "));
  EXPECT_THAT(ask("DELETE / HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 405 "));
  EXPECT_THAT(ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.0 400 "));
  EXPECT_THAT(ask(std::string(PageServer::kMaxRequestBytes, 'x')), StartsWith("HTTP/1.0 431 "));
  EXPECT_EQ(num_pages_, 0);
  expect_service();
}

TEST_F(PageServerTest, TakesARequestByteByByte) {
  UniqueFd fd = connect();
  for (char c : std::string("GET / HTTP/1.0\r\n\r\n")) send(fd, std::string(1, c));
  EXPECT_THAT(receive(fd), HasSubstr("the page"));
}

TEST_F(PageServerTest, DropsTheSlowAndServesOthersMeanwhile) {
  UniqueFd silent = connect();
  UniqueFd half = connect();
  send(half, "GET / HT");
  expect_service();
  EXPECT_EQ(receive(silent), "");  // after the server's patience
  EXPECT_EQ(receive(half), "");
  expect_service();
}

TEST_F(PageServerTest, MoreClientsThanItHoldsWaitTheirTurn) {
  std::vector<UniqueFd> idle;
  for (size_t i = 0; i < 2 * PageServer::kMaxClients; ++i) idle.push_back(connect());
  expect_service();
  std::vector<std::thread> threads;
  for (int i = 0; i < 40; ++i) threads.emplace_back([this] { expect_service(); });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PageServerTest, AReaderThatStallsIsDropped) {
  page_.assign(size_t{64} << 20, 'x');  // more than sockets hold
  UniqueFd stalled = connect();
  send(stalled, "GET / HTTP/1.0\r\n\r\n");
  UniqueFd silent = connect();
  EXPECT_EQ(receive(silent), "");  // it came later, and so the first is gone too
  size_t received = 0;
  std::vector<char> bytes(1 << 20);
  for (ssize_t n; (n = recv(stalled.get(), bytes.data(), bytes.size(), MSG_DONTWAIT)) != 0;) {
    if (n > 0) received += static_cast<size_t>(n);
    if (n < 0 && errno != EAGAIN) break;
  }
  EXPECT_LT(received, page_.size());
}

TEST_F(PageServerTest, ClientsThatVanishHurtNobody) {
  for (int i = 0; i < 50; ++i) {
    UniqueFd fd = connect();
    if (i % 2 == 0) send(fd, "GET / HTTP/1.0\r\n\r\n");
    const linger hard{1, 0};  // a reset instead of an end
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  }
  expect_service();
}

TEST_F(PageServerTest, EndsWithClientsConnected) {
  UniqueFd idle = connect();
  expect_service();
  server_.reset();
  EXPECT_EQ(receive(idle), "");
}

// A child that lives on leaves the address to whoever comes next.
TEST_F(PageServerTest, AForkedChildDoesNotListen) {
  std::array<int, 2> held{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, held.data()), 0);
  UniqueFd until(held[0]);
  UniqueFd through(held[1]);
  std::byte byte{};
  const pid_t child = fork();
  if (child == 0) {
    through.reset();
    [[maybe_unused]] const ssize_t sent = write(until.get(), &byte, 1);
    [[maybe_unused]] const ssize_t got = read(until.get(), &byte, 1);
    _exit(0);
  }
  ASSERT_EQ(read(through.get(), &byte, 1), 1);  // the child has come out of fork()
  server_.reset();
  auto nobody = connect_once(address_, "", monotonic_ns() + kLongNs);
  ASSERT_TRUE(nobody.ok()) << nobody.status().message();
  EXPECT_FALSE(nobody->has_value()) << "the child listens";
  EXPECT_TRUE(listen_tcp(address_).ok());
  through.reset();
  waitpid(child, nullptr, 0);
}

TEST_F(PageServerTest, APageThatThrowsIsNoEnd) {
  auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener.ok());
  address_ = *local_address(listener->get());
  int calls = 0;
  auto server = PageServer::start(std::move(*listener), [&]() -> std::string {
    if (calls++ == 0) throw std::bad_alloc();
    return "second\n";
  });
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(ask("GET / HTTP/1.0\r\n\r\n"), "");
  EXPECT_THAT(ask("GET / HTTP/1.0\r\n\r\n"), HasSubstr("second"));
}

}  // namespace
}  // namespace hfr
