#include "base/private_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

namespace hfr_tests {
namespace {

using hfr::PrivateFd;
using hfr::UniqueFd;

bool is_socket(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// What `look` says in a forked child.
bool in_child(const std::function<bool()>& look) {
  const pid_t child = fork();
  if (child == 0) _exit(look() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0;
}

std::array<UniqueFd, 2> socket_pair() {
  std::array<int, 2> pair{};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

TEST(PrivateFd, AChildHasItsNumberOnly) {
  auto [one, other] = socket_pair();
  PrivateFd mine(std::move(one));
  EXPECT_TRUE(is_socket(mine.get()));
  EXPECT_TRUE(in_child([&] { return is_open(mine.get()) && !is_socket(mine.get()); }));
  EXPECT_TRUE(in_child([&, shared = other.get()] { return is_socket(shared); }));
  EXPECT_TRUE(is_socket(mine.get())) << "the parent's is as it was";
  // A child of a child, too.
  EXPECT_TRUE(in_child([&] { return in_child([&] { return !is_socket(mine.get()); }); }));
}

TEST(PrivateFd, MovedItIsTheSameAndClosedItIsForgotten) {
  auto [one, other] = socket_pair();
  const int number = one.get();
  PrivateFd first(std::move(one));
  PrivateFd second(std::move(first));
  EXPECT_FALSE(first.valid());
  first = std::move(second);
  EXPECT_EQ(first.get(), number);
  EXPECT_TRUE(in_child([&] { return !is_socket(number); }));
  first.reset();
  EXPECT_FALSE(is_open(number));
  // The number is another's now, which a child keeps.
  const UniqueFd next(dup(other.get()));
  ASSERT_EQ(next.get(), number);
  EXPECT_TRUE(in_child([&] { return is_socket(number); }));
  EXPECT_FALSE(PrivateFd(UniqueFd()).valid());
}

// The other side sees the end of a process that was killed, though its child lives on.
TEST(PrivateFd, AChildDoesNotHideItsParentsDeath) {
  auto [one, other] = socket_pair();
  auto [hold, held] = socket_pair();
  const pid_t parent = fork();
  if (parent == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    other.reset();
    held.reset();
    const PrivateFd mine(std::move(one));
    std::byte byte{};
    if (fork() == 0) {
      // Lives until the test is through.
      [[maybe_unused]] const ssize_t got = read(hold.get(), &byte, 1);
      _exit(0);
    }
    [[maybe_unused]] const ssize_t sent = write(mine.get(), &byte, 1);
    while (true) pause();
  }
  one.reset();
  hold.reset();
  std::array<std::byte, 1> byte{};
  const uint64_t patience_ns = hfr::monotonic_ns() + 100'000'000'000;
  ASSERT_TRUE(hfr::recv_all(other.get(), byte, patience_ns, "the child").ok());
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  EXPECT_EQ(hfr::recv_all(other.get(), byte, patience_ns, "the end").code(),
            hfr::Code::kRemoteError);
}

}  // namespace
}  // namespace hfr_tests
