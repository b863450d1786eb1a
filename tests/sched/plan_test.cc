#include "sched/plan.hpp"

#include <gtest/gtest.h>

namespace hfr {
namespace {

TEST(Plan, EveryByteIsInOneChunk) {
  for (size_t slot : {4096, 65536, 524288}) {
    for (int local : {1, 2, 3, 8}) {
      for (int trees : {1, 2, 5}) {
        for (size_t bytes = 1; bytes < (size_t{1} << 24); bytes = bytes * 5 / 3 + 1) {
          Chunking c = plan_chunks({bytes, local, trees, slot, 4096});
          EXPECT_EQ(c.chunk_bytes % 64, 0u);
          EXPECT_LE(c.chunk_bytes, slot);
          EXPECT_GE(c.chunk_bytes, 4096u);
          EXPECT_GE(c.chunk_bytes * c.num_chunks, bytes);
          EXPECT_LT(c.chunk_bytes * (c.num_chunks - 1), bytes);
        }
      }
    }
  }
}

TEST(Plan, NothingIsOneEmptyChunk) {
  EXPECT_EQ(plan_chunks({0, 4, 2, 65536, 4096}).num_chunks, 1u);
}

TEST(Plan, LargeMessagesKeepEveryOwnerAndTreeBusyTwice) {
  EXPECT_GE(plan_chunks({size_t{1} << 20, 4, 2, 524288, 4096}).num_chunks, 16u);
}

TEST(Plan, SmallMessagesAreOneChunk) {
  EXPECT_EQ(plan_chunks({4096, 4, 2, 524288, 4096}).num_chunks, 1u);
}

}  // namespace
}  // namespace hfr
