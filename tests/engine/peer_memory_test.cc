#include "engine/peer_memory.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

namespace hfr_tests {
namespace {

using hfr::PeerMemory;

// A forked process whose memory begins as a copy of this one's.
class Child {
 public:
  Child() : pid_(fork()) {
    if (pid_ != 0) return;
    while (true) pause();
  }
  ~Child() { end(); }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

class PeerMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::strcpy(text_, "in the child");
    process_ = PeerMemory::this_process();
    child_ = std::make_unique<Child>();
    process_.pid = child_->pid();
    memory_ = PeerMemory({process_}, 4096);
    if (!memory_.alive(0)) GTEST_SKIP() << "this system forbids reading another process' memory";
  }

  char text_[32];
  PeerMemory::Process process_;
  std::unique_ptr<Child> child_;
  PeerMemory memory_;
};

TEST_F(PeerMemoryTest, PullsAndPushes) {
  EXPECT_TRUE(memory_.try_out(0));
  auto address = reinterpret_cast<uintptr_t>(text_);
  std::strcpy(text_, "here");
  char seen[32];
  ASSERT_TRUE(memory_.pull(0, address, seen, sizeof(seen)));
  EXPECT_STREQ(seen, "in the child");
  ASSERT_TRUE(memory_.push(0, address, "pushed", 7));
  ASSERT_TRUE(memory_.pull(0, address, seen, sizeof(seen)));
  EXPECT_STREQ(seen, "pushed");
  EXPECT_STREQ(text_, "here");
}

TEST_F(PeerMemoryTest, TheDeadRefuse) {
  child_->end();
  char seen[8];
  EXPECT_FALSE(memory_.alive(0));
  EXPECT_FALSE(memory_.try_out(0));
  EXPECT_FALSE(memory_.pull(0, reinterpret_cast<uintptr_t>(text_), seen, sizeof(seen)));
  EXPECT_FALSE(memory_.push(0, reinterpret_cast<uintptr_t>(text_), seen, sizeof(seen)));
}

TEST_F(PeerMemoryTest, UnmappedMemoryAndTheWrongProcessRefuse) {
  char seen[8];
  EXPECT_FALSE(memory_.pull(0, 64, seen, sizeof(seen)));
  EXPECT_FALSE(memory_.push(0, 64, seen, sizeof(seen)));
  process_.probe = reinterpret_cast<uintptr_t>(text_);  // readable, but not the word
  EXPECT_FALSE(PeerMemory({process_}, 4096).try_out(0));
}

TEST(PeerMemory, IsUnavailableUntilItKnowsProcesses) { EXPECT_FALSE(PeerMemory().available()); }

}  // namespace
}  // namespace hfr_tests
