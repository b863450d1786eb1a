// Which path a node's operations take by what its ranks reach of each other's buffers.
#include <gtest/gtest.h>

#include <algorithm>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

// Ranks as processes, whose buffers are private or in the heap, in every mixture: each size takes
// the path that all of them can see.
TEST(PrivateBuffers, PrivateAndSharedBuffersOfProcesses) {
  constexpr size_t kRoom = size_t{512} << 10;  // of a buffer in the heap
  for (int num_ranks : {2, 3, 5}) {
    EngineCluster cluster({.ranks_per_node = {num_ranks}, .processes = true});
    if (!cluster.context(0).peer_memory.alive(0)) {
      GTEST_SKIP() << "this system forbids reading another process' memory";
    }
    auto n = static_cast<size_t>(num_ranks);
    auto in_heap = [&](size_t buffer) {
      return reinterpret_cast<int64_t*>(cluster.heap().data() + buffer * kRoom);
    };
    std::mt19937 random(static_cast<unsigned>(num_ranks));
    uint64_t number = 0;
    for (size_t count : {1, 500, 1000, 2048, 2049, 3000, 5000, 8192, 8193, 20'000, 60'000}) {
      for (int round = 0; round < 24; ++round, ++number) {
        std::vector<std::vector<int64_t>> mine(2 * n, std::vector<int64_t>(count));
        std::vector<int64_t*> recvs(n);
        auto one_place = [&](size_t buffer) {
          // Rounds of private buffers alone, of shared ones alone, and of both.
          const bool shared = round < 4 ? false : round < 8 ? true : random() % 2 == 0;
          return shared ? in_heap(buffer) : mine[buffer].data();
        };
        std::vector<int64_t> expected(count);
        std::vector<size_t> order(n);
        std::vector<hfr::OpDescriptor> descs(n);
        for (size_t rank = 0; rank < n; ++rank) {
          order[rank] = rank;
          int64_t* send = one_place(2 * rank);
          recvs[rank] = random() % 2 == 0 ? send : one_place(2 * rank + 1);
          for (size_t i = 0; i < count; ++i) {
            send[i] = static_cast<int64_t>(random());
            expected[i] += send[i];
          }
          descs[rank] = {.send = send,
                         .recv = recvs[rank],
                         .count = count,
                         .dtype = hfr::DType::kInt64,
                         .op = hfr::Op::kSum};
        }
        std::shuffle(order.begin(), order.end(), random);
        for (size_t rank : order) {
          hfr::Executor& executor = cluster[static_cast<int>(rank)];
          ASSERT_TRUE(random() % 2 == 0 ? executor.submit_and_finish(descs[rank], random() % 8)
                                        : executor.submit(descs[rank]));
        }
        for (int turns = 0; turns < 100'000 && !cluster.all_done(number); ++turns) {
          cluster[static_cast<int>(random() % n)].progress();
        }
        ASSERT_TRUE(cluster.all_done(number)) << count << " elements, round " << round;
        for (size_t rank = 0; rank < n; ++rank) {
          ASSERT_FALSE(cluster[static_cast<int>(rank)].failed());
          ASSERT_TRUE(std::equal(expected.begin(), expected.end(), recvs[rank]))
              << count << " elements, round " << round << ", rank " << rank;
        }
      }
    }
    // Both ways: what is flat is what was published.
    EXPECT_GT(cluster[0].meters().by_path[static_cast<size_t>(hfr::OpPath::kFlat)].load(), 0u);
    EXPECT_GT(cluster[0].meters().by_path[static_cast<size_t>(hfr::OpPath::kDirect)].load(), 0u);
  }
}

// The last size of private buffers that are copied, and the first that are not.
TEST(PrivateBuffers, PrivateBuffersAreFlatForLongerThanSharedOnes) {
  for (bool shared : {false, true}) {
    for (size_t bytes : {size_t{16} << 10, size_t{20} << 10, size_t{64} << 10, size_t{68} << 10}) {
      EngineCluster cluster({.ranks_per_node = {2}, .processes = true});
      Buffers buffers(2, bytes / sizeof(int64_t), true);
      for (int rank : {0, 1}) {
        hfr::OpDescriptor desc = buffers.descriptor(rank);
        if (shared) desc.recv = cluster.heap().data() + static_cast<size_t>(rank) * (1 << 20);
        if (shared) std::memcpy(desc.recv, desc.send, bytes);
        if (shared) desc.send = desc.recv;
        ASSERT_TRUE(cluster[rank].submit(desc));
      }
      cluster.turn();
      cluster.turn();
      const auto flat = cluster[0].meters().by_path[static_cast<size_t>(hfr::OpPath::kFlat)].load();
      EXPECT_EQ(flat, bytes <= (shared ? size_t{16} << 10 : size_t{64} << 10) ? 1u : 0u)
          << bytes << (shared ? " shared" : " private") << " bytes";
    }
  }
}

}  // namespace
}  // namespace hfr_tests
