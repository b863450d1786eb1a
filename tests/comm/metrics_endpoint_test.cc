#include "comm/metrics_endpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/config.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string ask(UniqueFd fd) {
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  const uint64_t until_ns = monotonic_ns() + 60'000'000'000;
  EXPECT_TRUE(send_all(fd.get(), std::as_bytes(std::span(request)), until_ns, "asking").ok());
  std::string text;
  std::byte byte;
  while (recv_all(fd.get(), std::span(&byte, 1), until_ns, "hearing").ok())
    text += static_cast<char>(byte);
  return text;
}

HostPort address_of(const MetricsEndpoint& endpoint) {
  std::string text = endpoint.address().substr(strlen("http://"));
  return *parse_host_port(text.substr(0, text.find("/metrics")));
}

std::string ask(const HostPort& address) {
  auto fd = connect_tcp(address, "", monotonic_ns() + 60'000'000'000);
  EXPECT_TRUE(fd.ok()) << fd.status().message();
  return ask(std::move(*fd));
}

MetricsEndpoint::Source source(int rank) {
  return [rank] {
    CommMetrics metrics;
    metrics.rank = rank;
    return metrics;
  };
}

TEST(MetricsAddress, IsAPortAnAddressOrAPath) {
  EXPECT_EQ(text(parse_metrics_address("9400")->tcp), "127.0.0.1:9400");
  EXPECT_EQ(text(parse_metrics_address("0")->tcp), "127.0.0.1:0");
  EXPECT_EQ(text(parse_metrics_address("10.1.2.3:80")->tcp), "10.1.2.3:80");
  EXPECT_EQ(text(parse_metrics_address("[::1]:80")->tcp), "[::1]:80");
  EXPECT_EQ(parse_metrics_address("unix:/run/x.%r")->path, "/run/x.%r");
  for (const char* bad : {"", "unix:", "65536", "-1", ":80", "host", "host:", "host:port", "1 "}) {
    EXPECT_FALSE(parse_metrics_address(bad)) << bad;
  }
}

TEST(MetricsEndpoint, OneForAllCommunicatorsOfAProcess) {
  auto first = MetricsEndpoint::join("127.0.0.1:0", 0, 0);
  ASSERT_TRUE(first.ok()) << first.status().message();
  auto second = MetricsEndpoint::join("127.0.0.1:0", 5, 5);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->get(), second->get());
  const HostPort address = address_of(**first);
  EXPECT_THAT(ask(address), Not(HasSubstr("rank=")));
  auto a = std::make_unique<MetricsEntry>(*first, source(3));
  auto b = std::make_unique<MetricsEntry>(*second, source(4));
  EXPECT_THAT(ask(address), AllOf(HasSubstr("rank=\"3\",node=\"0\",comm=\"0\""),
                                  HasSubstr("rank=\"4\",node=\"0\",comm=\"1\"")));
  a.reset();
  EXPECT_THAT(ask(address), AllOf(Not(HasSubstr("rank=\"3\"")), HasSubstr("rank=\"4\"")));
  b.reset();
  *first = nullptr;
  *second = nullptr;
  auto gone = connect_once(address, "", monotonic_ns() + 60'000'000'000);
  ASSERT_TRUE(gone.ok());
  EXPECT_FALSE(gone->has_value()) << "somebody still listens";
}

TEST(MetricsEndpoint, PortsCountByProcess) {
  // A free port that has a free one behind it, most of the time.
  for (int attempt = 0; attempt < 100; ++attempt) {
    auto probe = listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(probe.ok());
    const HostPort free = *local_address(probe->get());
    probe->reset();
    if (free.port > 65500) continue;
    auto endpoint = MetricsEndpoint::join(text(free), 3, 0);
    if (!endpoint.ok()) continue;
    EXPECT_EQ(address_of(**endpoint).port, free.port + 3);
    return;
  }
  GTEST_SKIP() << "no free port was found";
}

TEST(MetricsEndpoint, SaysWhatToTry) {
  auto taken = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(taken.ok());
  const std::string where = text(*local_address(taken->get()));
  EXPECT_THAT(MetricsEndpoint::join(where, 0, 0).status().message(),
              AllOf(HasSubstr(where), HasSubstr("choose another port")));
  EXPECT_THAT(MetricsEndpoint::join("127.0.0.1:65535", 1, 0).status().message(),
              HasSubstr("past 65535"));
  EXPECT_THAT(MetricsEndpoint::join("unix:/nowhere/at/all", 0, 0).status().message(),
              HasSubstr("/nowhere/at/all"));
  EXPECT_THAT(MetricsEndpoint::join(cat("unix:/", std::string(200, 'x')), 0, 0).status().message(),
              HasSubstr("shorter"));
}

class SocketFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hfreduce_metrics_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  static UniqueFd connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  std::string folder_;
};

TEST_F(SocketFile, ServesAndGoesWithIt) {
  auto endpoint = MetricsEndpoint::join(cat("unix:", folder_, "/m.%r"), 0, 7);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().message();
  const std::string path = folder_ + "/m.7";
  EXPECT_EQ((*endpoint)->address(), "unix:" + path);
  MetricsEntry entry(*endpoint, source(7));
  EXPECT_THAT(ask(connect(path)), HasSubstr("rank=\"7\""));
}

TEST_F(SocketFile, IsLeftToWhoHasItAndTakenFromTheDead) {
  const std::string path = folder_ + "/m";
  auto first = MetricsEndpoint::join("unix:" + path, 0, 0);
  ASSERT_TRUE(first.ok());
  // Another setting for the same place.
  EXPECT_THAT(MetricsEndpoint::join("unix:" + folder_ + "//m", 0, 0).status().message(),
              HasSubstr("there is one already"));
  *first = nullptr;
  EXPECT_FALSE(std::filesystem::exists(path));
  {
    // A process that was killed leaves this.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    UniqueFd dead(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(path));
  auto again = MetricsEndpoint::join("unix:" + path, 0, 0);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_THAT(ask(connect(path)), HasSubstr("200 OK"));
}

}  // namespace
}  // namespace hfr
