// Chunking: the properties that every plan keeps, over many sizes.
#include "sched/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace hfr {
namespace {

// The chunks follow each other, on whole cache lines, none empty and none larger than a slot. Of
// very many, those at both ends.
void expect_chunks_follow(const Chunking& plan, const PlanInput& input) {
  constexpr uint64_t kEnd = 30;
  EXPECT_EQ(plan.offset(0), 0u);
  for (uint64_t i = 0; i < plan.num_chunks; ++i) {
    if (i == kEnd && plan.num_chunks > 2 * kEnd) i = plan.num_chunks - kEnd;
    EXPECT_EQ(plan.offset(i) % 64, 0u);
    EXPECT_GT(plan.size(i), 0u) << i;
    EXPECT_LE(plan.size(i), input.slot_bytes);
    const bool last = i + 1 == plan.num_chunks;
    EXPECT_EQ(plan.offset(i) + plan.size(i), last ? input.bytes : plan.offset(i + 1)) << i;
  }
}

void expect_sound(const PlanInput& input) {
  SCOPED_TRACE(testing::Message() << input.bytes << " bytes, " << input.max_local_ranks
                                  << " ranks, " << input.num_trees << " trees, slots of "
                                  << input.slot_bytes << ", at least " << input.min_chunk_bytes);
  const Chunking plan = plan_chunks(input);
  EXPECT_EQ(plan.chunk_bytes % 64, 0u);
  EXPECT_GE(plan.chunk_bytes, 64u);
  EXPECT_LE(plan.chunk_bytes, input.slot_bytes);
  ASSERT_GE(plan.num_chunks, 1u);
  if (input.bytes == 0) {
    EXPECT_EQ(plan.num_chunks, 1u);
    return;
  }
  expect_chunks_follow(plan, input);
  EXPECT_GE(plan.chunk_bytes, std::min(input.min_chunk_bytes, input.slot_bytes));
  EXPECT_EQ(plan.num_chunks, (input.bytes - 1) / plan.chunk_bytes + 1);
  // Every owner has work in every tree as soon as the least chunks allow it.
  const auto shares = static_cast<uint64_t>(input.max_local_ranks * input.num_trees);
  if (input.bytes >= 2 * shares * std::max<size_t>(input.min_chunk_bytes, 64)) {
    EXPECT_GE(plan.num_chunks, shares);
  }
}

TEST(Plan, ManySizes) {
  std::vector<size_t> sizes = {0, 1, 2, 63, 64, 65, 4095, 4096, 4097};
  for (int shift = 10; shift <= 40; ++shift) {
    for (int off : {-1, 0, 1}) sizes.push_back((size_t{1} << shift) + static_cast<size_t>(off));
  }
  for (size_t bytes : sizes) {
    for (int ranks : {1, 2, 3, 8, 16}) {
      for (int trees : {1, 2, 3, 8}) {
        for (size_t slot : {size_t{64}, size_t{4096}, size_t{12288}, size_t{1} << 19}) {
          for (size_t least : {size_t{0}, size_t{64}, size_t{4096}, size_t{1} << 20}) {
            expect_sound({bytes, ranks, trees, slot, least});
          }
        }
      }
    }
  }
}

TEST(Plan, RandomSizes) {
  std::mt19937_64 random(20'240'814);
  for (int i = 0; i < 20'000; ++i) {
    PlanInput input;
    input.bytes = random() >> (random() % 40 + 20);
    input.max_local_ranks = static_cast<int>(random() % 64) + 1;
    input.num_trees = static_cast<int>(random() % 16) + 1;
    input.slot_bytes = 64 * (random() % 20'000 + 1);
    input.min_chunk_bytes = random() % 100'000;
    expect_sound(input);
  }
}

TEST(Plan, NothingIsOneEmptyChunk) {
  PlanInput input;
  input.slot_bytes = 4096;
  const Chunking plan = plan_chunks(input);
  EXPECT_EQ(plan.num_chunks, 1u);
  EXPECT_EQ(plan.chunk_bytes, 4096u);
}

TEST(Plan, ASmallMessageIsOneChunk) {
  for (size_t bytes = 1; bytes <= 4096; bytes += 17) {
    EXPECT_EQ(plan_chunks({bytes, 8, 2, size_t{1} << 19}).num_chunks, 1u) << bytes;
  }
}

TEST(Plan, ALargeMessageFillsItsSlots) {
  const Chunking plan = plan_chunks({size_t{1} << 30, 8, 2, size_t{1} << 19});
  EXPECT_EQ(plan.chunk_bytes, size_t{1} << 19);
  EXPECT_EQ(plan.num_chunks, 2048u);
}

TEST(Plan, TheLargestSizeDoesNotOverflow) {
  const size_t slot = size_t{1} << 19;
  const size_t bytes = std::numeric_limits<size_t>::max();
  const Chunking plan = plan_chunks({bytes, 8, 2, slot});
  EXPECT_EQ(plan.chunk_bytes, slot);
  EXPECT_EQ(plan.num_chunks, (bytes - 1) / slot + 1);
}

}  // namespace
}  // namespace hfr
