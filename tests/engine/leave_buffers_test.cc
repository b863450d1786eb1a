// A rank that fails gives its buffers back only when no other rank is at them.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

// Its first add begins and does not end before `may_end`.
class SlowPool : public hfr::InlinePool {
 public:
  SlowPool(std::atomic<bool>& begun, const std::atomic<bool>& may_end)
      : InlinePool(**hfr::select_kernel_table("scalar")), begun_(begun), may_end_(may_end) {}
  void run(const hfr::ReduceDescriptor& work) override {
    begun_ = true;
    while (!may_end_) std::this_thread::yield();
    InlinePool::run(work);
  }

 private:
  std::atomic<bool>& begun_;
  const std::atomic<bool>& may_end_;
};

struct Reach {
  const char* name;
  std::vector<int> ranks_per_node;
  size_t count;
  bool processes;
  bool kernel;
};
void PrintTo(const Reach& reach, std::ostream* out) { *out << reach.name; }

// Rank 1's failure, in a thread of its own.
class Failing {
 public:
  explicit Failing(EngineCluster& cluster) : cluster_(cluster), thread_([this] { run(); }) {}
  // Until it has left its buffers, or looks at the clock again and again, as it does who waits.
  void await_a_wait() {
    while (cluster_.context(1).staging.failure().state.load() == 0) std::this_thread::yield();
    const uint64_t asked = cluster_.clock().asked;
    while (!has_left && cluster_.clock().asked < asked + 8) std::this_thread::yield();
  }
  void join() { thread_.join(); }

  std::atomic<bool> has_left = false;

 private:
  void run() {
    cluster_[1].fail({hfr::Status(hfr::Code::kAborted, "aborted"), 1});
    has_left = true;
  }

  EngineCluster& cluster_;
  std::thread thread_;
};

class LeaveBuffers : public testing::TestWithParam<Reach> {};

TEST_P(LeaveBuffers, AFailingRankWaitsForThoseThatAdd) {
  const Reach& reach = GetParam();
  std::atomic<bool> begun = false;
  std::atomic<bool> may_end = false;
  EngineCluster cluster({.ranks_per_node = reach.ranks_per_node,
                         .processes = reach.processes,
                         .kernel = reach.kernel,
                         .rank_with_pool = 0,
                         .make_pool = [&] { return std::make_unique<SlowPool>(begun, may_end); }});
  if (reach.kernel && !cluster.context(0).peer_memory.alive(0)) {
    GTEST_SKIP() << "this system forbids reading another process' memory";
  }
  // Out of place, as small messages in place are copied.
  Buffers buffers(cluster.num_ranks(), reach.count, false);
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
    hfr::OpDescriptor desc = buffers.descriptor(rank);
    if (reach.processes) {  // in the heap
      const size_t room = reach.count * sizeof(int64_t) + 4096;
      std::byte* mine = cluster.heap().data() + 2 * static_cast<size_t>(rank) * room;
      desc.send = std::memcpy(mine, desc.send, reach.count * sizeof(int64_t));
      desc.recv = mine + room;
    }
    ASSERT_TRUE(cluster[rank].submit(desc));
  }
  // Rank 0 comes as far as its add; its node's other rank then fails.
  std::thread adding([&] {
    while (!begun) cluster[0].progress();
  });
  while (!begun) cluster[1].progress();
  Failing failing(cluster);
  failing.await_a_wait();
  EXPECT_FALSE(failing.has_left);
  may_end = true;
  failing.join();
  adding.join();
  EXPECT_TRUE(cluster[1].failed());
}

// A process that died while it added lowers no flag, and nobody knows without the kernel's way.
TEST(LeaveBuffersOfTheDead, AreLeftAfterATime) {
  EngineCluster cluster({.ranks_per_node = {2}, .processes = true, .kernel = false});
  cluster.context(0).staging.busy(0).value.store(1);
  Failing failing(cluster);
  failing.await_a_wait();
  EXPECT_FALSE(failing.has_left);
  while (!failing.has_left) cluster.clock().now += 1'000'000'000;
  failing.join();
}

INSTANTIATE_TEST_SUITE_P(Engine, LeaveBuffers,
                         testing::Values(Reach{"FlatThreads", {2}, 1'000, false, false},
                                         Reach{"DirectThreads", {2}, 50'000, false, false},
                                         Reach{"FlatProcesses", {2}, 1'000, true, true},
                                         Reach{"DirectProcesses", {2}, 50'000, true, true},
                                         Reach{"FlatHeapAlone", {2}, 1'000, true, false},
                                         Reach{"DirectHeapAlone", {2}, 50'000, true, false},
                                         Reach{"LanesThreads", {2, 1}, 50'000, false, false},
                                         Reach{"LanesHeapAlone", {2, 1}, 50'000, true, false}),
                         [](const auto& reach) { return std::string(reach.param.name); });

}  // namespace
}  // namespace hfr_tests
