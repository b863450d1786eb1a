// The engine's promise: no allocation from the first turn on. This program counts them all.
#include <atomic>
#include <cstdlib>
#include <new>

#include "cluster.hpp"

namespace {

std::atomic<uint64_t> g_allocations{0};

void* counted(size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace hfr_tests {
namespace {

TEST(Allocation, NoneFromSubmissionToCompletion) {
  for (const auto& nodes : {std::vector<int>{1}, {3}, {1, 1}, {2, 2}, {1, 2, 1, 1}}) {
    for (bool direct : {false, true}) {
      for (size_t count : {1u, 3000u, 300'000u}) {
        EngineCluster cluster({.ranks_per_node = nodes, .direct = direct});
        Buffers buffers(cluster.num_ranks(), count, false);
        const uint64_t before = g_allocations.load();
        for (uint64_t op = 0; op < 3; ++op) {
          for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
            if (op == 1) {
              cluster[rank].submit_and_finish(buffers.descriptor(rank), 4);
            } else {
              cluster[rank].submit(buffers.descriptor(rank));
            }
          }
          while (!cluster.all_done(op)) cluster.turn();
        }
        EXPECT_EQ(g_allocations.load() - before, 0u)
            << nodes.size() << " nodes, " << count << " elements, direct " << direct;
        buffers.check();
      }
    }
  }
}

TEST(Allocation, TheCounterCounts) {
  const uint64_t before = g_allocations.load();
  std::vector<int> vector(100);
  EXPECT_EQ(vector.size(), 100u);
  EXPECT_GT(g_allocations.load(), before);
}

}  // namespace
}  // namespace hfr_tests
