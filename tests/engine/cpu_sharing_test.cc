#include "engine/cpu_sharing.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <utility>
#include <vector>

#include "base/shared_memory.hpp"

namespace hfr {
namespace {

// The CPUs that this process may use.
std::vector<int> usable_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

class CpuSharingTest : public testing::Test {
 protected:
  void TearDown() override { sched_setaffinity(0, sizeof(before_), &before_); }

  // What rank `r` finds when it waits on the n-th usable CPU.
  bool look(int r, size_t n) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus_[n], &set);
    EXPECT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    return CpuSharing(staging_, r).look();
  }

  static StagingShape shape() {
    StagingShape shape;
    shape.num_local = 3;
    shape.slot_bytes = 4096;
    shape.flat_bytes = 64;
    return shape;
  }

  const std::vector<int> cpus_ = usable_cpus();
  cpu_set_t before_ = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  SharedMemory memory_ = [] {
    auto memory = SharedMemory::create("cpu_sharing_test", Staging::bytes_needed(shape()));
    return std::move(*memory);
  }();
  const Staging staging_{shape(), memory_.data()};
};

TEST_F(CpuSharingTest, NobodyHasWaitedYet) {
  EXPECT_FALSE(look(0, 0));
  EXPECT_FALSE(look(0, 0)) << "its own word is not another's";
}

TEST_F(CpuSharingTest, RanksOnOneCpuBothKnow) {
  EXPECT_FALSE(look(0, 0));
  EXPECT_TRUE(look(2, 0));
  EXPECT_TRUE(look(0, 0));
}

TEST_F(CpuSharingTest, WhoeverMovesAwayIsNoLongerThere) {
  if (cpus_.size() < 2) GTEST_SKIP() << "needs two CPUs";
  EXPECT_FALSE(look(0, 0));
  EXPECT_TRUE(look(1, 0));
  EXPECT_FALSE(look(1, 1));
  EXPECT_FALSE(look(0, 0));
  EXPECT_FALSE(look(1, 1));
  EXPECT_TRUE(look(0, 1));
}

}  // namespace
}  // namespace hfr
