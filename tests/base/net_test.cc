#include "base/net.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/shared_memory.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

using testing::HasSubstr;

uint64_t in_ms(uint64_t ms) { return monotonic_ns() + ms * 1'000'000; }
// For what comes, however slow the machine is.
uint64_t patience() { return in_ms(60'000); }

TEST(HostPort, Parses) {
  EXPECT_EQ(parse_host_port("10.0.0.1:80")->port, 80);
  EXPECT_EQ(parse_host_port("[::1]:4000")->host, "::1");
  EXPECT_EQ(text(*parse_host_port("[::1]:4000")), "[::1]:4000");
  for (const char* bad : {"", "host", ":1", "host:", "host:0", "host:70000", "host:1x", "::1:5",
                          "[]:5", "[::1:5", "[[::1]:5", "a]:5"}) {
    EXPECT_FALSE(parse_host_port(bad).ok()) << bad;
  }
  EXPECT_TRUE(parse_host_port("host:0", true).ok());
}

TEST(Net, FramesBothWays) {
  auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener.ok());
  auto address = local_address(listener->get());
  auto client = connect_tcp(*address, "", patience());
  ASSERT_TRUE(client.ok()) << client.status().message();
  auto server = accept_tcp(listener->get(), patience());
  ASSERT_TRUE(server.ok());
  std::vector<std::byte> frame(100'000, std::byte{7});
  std::thread sender(
      [&] { EXPECT_TRUE(send_frame(client->get(), frame, patience(), "sending").ok()); });
  auto got = recv_frame(server->get(), 200'000, patience(), "receiving");
  sender.join();
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(*got, frame);
}

TEST(Net, RefusesOversizedFramesAndSaysWhenTheOtherSideCloses) {
  std::array<int, 2> pair{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  UniqueFd a(pair[0]);
  UniqueFd b(pair[1]);
  ASSERT_TRUE(send_frame(a.get(), std::vector<std::byte>(1000), patience(), "sending").ok());
  auto got = recv_frame(b.get(), 999, patience(), "receiving");
  EXPECT_EQ(got.status().code(), Code::kRemoteError);
  EXPECT_THAT(got.status().message(), HasSubstr("1000 bytes"));
  a.reset();
  std::array<std::byte, 2000> rest{};
  EXPECT_THAT(recv_all(b.get(), rest, patience(), "reading on").message(),
              HasSubstr("closed the connection"));
}

TEST(Net, DeadlinesAndCancellationEndWaits) {
  auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener.ok());
  EXPECT_EQ(accept_tcp(listener->get(), in_ms(5)).status().code(), Code::kTimeout);
  CancelFlag flag;
  flag.set();
  CancelScope scope(&flag);
  EXPECT_EQ(accept_tcp(listener->get(), in_ms(60'000)).status().code(), Code::kAborted);
}

TEST(Net, ACancelFlagFollowsItsParentAlsoInThreadsThatHelp) {
  CancelFlag parent;
  CancelScope scope(&parent);
  CancelFlag child(CancelScope::current());
  std::thread helper([&] {
    EXPECT_EQ(CancelScope::current(), nullptr);
    CancelScope here(&child);
    EXPECT_FALSE(CancelScope::cancelled());
    parent.set();
    EXPECT_TRUE(CancelScope::cancelled());
  });
  helper.join();
}

TEST(Net, OneAttemptTellsARefusalFromAConnection) {
  auto listener = listen_tcp({"127.0.0.1", 0});
  auto address = local_address(listener->get());
  auto there = connect_once(*address, "127.0.0.1", in_ms(5000));
  ASSERT_TRUE(there.ok()) << there.status().message();
  EXPECT_TRUE(there->has_value());
  listener->reset();
  auto gone = connect_once(*address, "", in_ms(5000));
  ASSERT_TRUE(gone.ok()) << gone.status().message();
  EXPECT_FALSE(gone->has_value());
  // An address that nobody has: not known is not refused.
  EXPECT_FALSE(connect_once({"192.0.2.1", 9}, "127.0.0.1", in_ms(50)).ok());
}

TEST(Net, ConnectingToNobodyEndsAtTheDeadline) {
  // Bound, so that no other process gets the port, but it does not listen.
  UniqueFd holder(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  ASSERT_EQ(bind(holder.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  auto address = local_address(holder.get());
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(connect_tcp(*address, "", in_ms(30)).status().code(), Code::kTimeout);
}

TEST(Net, InterfacesByName) {
  EXPECT_EQ(*interface_address("lo"), "127.0.0.1");
  auto missing = interface_address("nope0");
  EXPECT_THAT(missing.status().message(), testing::AllOf(HasSubstr("nope0"), HasSubstr("lo")));
}

// The process' limit of descriptors, until the guard goes.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit lower{limit, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &lower), 0);
  }
  ~DescriptorLimit() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

TEST(Net, MoreDescriptorsThanTheLimitCanBePolled) {
  constexpr int kFarUp = 2000;
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  UniqueFd out(ends[0]), in(ends[1]);
  UniqueFd high(dup2(ends[0], kFarUp) == kFarUp ? kFarUp : -1);  // past what an fd_set holds
  rlimit now{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
  for (rlim_t limit : {now.rlim_cur, rlim_t{3}, rlim_t{0}}) {
    SCOPED_TRACE(limit);
    const DescriptorLimit guard(limit);
    std::array<pollfd, 4> entries{
        {{out.get(), POLLIN, 7}, {-1, POLLIN, 7}, {in.get(), POLLOUT, 7}, {high.get(), POLLIN, 7}}};
    auto ready = [&] {
      EXPECT_GT(poll_all(entries, 60'000), 0);
      std::array<int, 4> events{};
      for (size_t i = 0; i < entries.size(); ++i) events[i] = entries[i].revents;
      return events;
    };
    const int seen = high.valid() ? POLLIN : 0;
    EXPECT_THAT(ready(), testing::ElementsAre(0, 0, POLLOUT, 0));
    ASSERT_EQ(write(in.get(), "x", 1), 1);
    EXPECT_THAT(ready(), testing::ElementsAre(POLLIN, 0, POLLOUT, seen));
    char byte = 0;
    ASSERT_EQ(read(out.get(), &byte, 1), 1);
    entries[2].fd = -1;
    EXPECT_EQ(poll_all(entries, 1), 0);
  }
}

TEST(Pack, RoundTripAndRubbish) {
  std::vector<std::string> fields = {"", "a", std::string("b\0c", 3), std::string(1000, 'd')};
  auto bytes = pack(fields);
  EXPECT_EQ(unpack(bytes, 4), fields);
  EXPECT_FALSE(unpack(bytes, 3));
  EXPECT_FALSE(unpack(bytes, 5));
  for (size_t cut = 1; cut < 20; ++cut) {
    EXPECT_FALSE(unpack(std::span(bytes).first(bytes.size() - cut), 4)) << cut;
  }
  bytes[0] = std::byte{0xff};
  bytes[3] = std::byte{0xff};
  EXPECT_FALSE(unpack(bytes, 4));
}

TEST(SharedMemory, TwoMappingsShareBytesAndReleasedPagesReadZero) {
  auto first = SharedMemory::create("test", 3 << 20);
  ASSERT_TRUE(first.ok());
  auto second = SharedMemory::adopt(UniqueFd(dup(first->fd())), 3 << 20);
  ASSERT_TRUE(second.ok());
  first->data()[12345] = std::byte{9};
  EXPECT_EQ(second->data()[12345], std::byte{9});
  ASSERT_TRUE(first->release(8192, 8192).ok());
  EXPECT_EQ(second->data()[12345], std::byte{0});
  EXPECT_FALSE(SharedMemory::adopt(UniqueFd(dup(first->fd())), 4 << 20).ok());
}

TEST(Text, Bytes) {
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(bytes_text(size_t{4} << 20), "4.0 MiB");
}

}  // namespace
}  // namespace hfr
