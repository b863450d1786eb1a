// Whether a process is there, from what the system says of it.
#include "base/process.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/text.hpp"

namespace hfr_tests {
namespace {

using hfr::ProcessState;

uint64_t start_of(pid_t pid) {
  std::ifstream stat_file(hfr::cat("/proc/", pid, "/stat"));
  std::string field;
  for (int i = 1; i <= 22; ++i) stat_file >> field;
  return std::stoull(field);
}

TEST(Process, IsRunningStoppedOrDead) {
  const pid_t child = fork();
  if (child == 0) {
    while (true) pause();
  }
  hfr::ProcessIdentity identity = hfr::this_process();
  identity.pid = child;
  identity.start = start_of(child);
  const hfr::ProcessIdentity here = hfr::this_process();
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kRunning);
  kill(child, SIGSTOP);
  waitpid(child, nullptr, WUNTRACED);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kStopped);
  hfr::ProcessIdentity other = identity;
  other.start += 1;
  EXPECT_EQ(hfr::look_at(other, here), ProcessState::kDead) << "its number was given again";
  other = identity;
  other.boot_id = "another machine";
  EXPECT_EQ(hfr::look_at(other, here), ProcessState::kUnknown);
  kill(child, SIGKILL);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kDead) << "a zombie";
  waitpid(child, nullptr, 0);
  EXPECT_EQ(hfr::look_at(identity, here), ProcessState::kDead);
}

// A process may vanish between any two looks at what the system says of it.
TEST(Process, MayVanishWhileItIsLookedAt) {
  const hfr::ProcessIdentity here = hfr::this_process();
  std::mutex mutex;
  hfr::ProcessIdentity latest = here;
  std::atomic<bool> stop{false};
  std::vector<std::thread> lookers;
  for (int i = 0; i < 3; ++i) {
    lookers.emplace_back([&] {
      while (!stop.load()) {
        std::unique_lock lock(mutex);
        const hfr::ProcessIdentity process = latest;
        lock.unlock();
        EXPECT_NO_THROW(hfr::look_at(process, here));
      }
    });
  }
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      while (true) pause();
    }
    {
      const std::lock_guard lock(mutex);
      latest.pid = child;
      latest.start = start_of(child);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  stop = true;
  for (std::thread& looker : lookers) looker.join();
}

}  // namespace
}  // namespace hfr_tests
