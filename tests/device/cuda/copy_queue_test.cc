// What a queue hands to the driver, and when, with a driver that is made up.
#include "device/cuda/copy_queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/text.hpp"
#include "noted_calls.hpp"

namespace hfr {
namespace {

class Queue : public testing::Test {
 protected:
  void SetUp() override {
    calls().clear();
    auto opened = CudaContext::open(driver_, made_up_context(1), 0);
    ASSERT_TRUE(opened.ok());
    context_ = *opened;
    queue_ = std::make_unique<CopyQueue>(*context_, CopyDirection::kIn, true, 0);
    ASSERT_TRUE(queue_->open(&turn_, 0).ok());
  }

  // The queue's n-th copy, which waits until gate_ is n + 1.
  CopyDescriptor copy(uint64_t n, bool more) {
    CopyDescriptor copy;
    copy.src = memory_;
    copy.dst = memory_;
    copy.bytes = sizeof(memory_);
    copy.wait = &gate_;
    copy.wait_value = n + 1;
    copy.signal = &signals_[n];
    copy.signal_value = n + 1;
    copy.more = more;
    return copy;
  }
  void poll() {
    CUresult result = CUDA_SUCCESS;
    queue_->poll(result);
    EXPECT_EQ(result, CUDA_SUCCESS);
  }

  const Driver driver_ = that_notes_calls();
  std::shared_ptr<CudaContext> context_;
  std::atomic<uint64_t> turn_{0};
  Counter gate_;
  Counter signals_[8];
  char memory_[64] = {};
  std::unique_ptr<CopyQueue> queue_;
};

TEST_F(Queue, EarlyCopiesThatSaySoGoWithTheNextOne) {
  // The last one has nothing to go with.
  for (uint64_t n = 0; n < 5; ++n) queue_->push_early(copy(n, n % 2 == 0));
  for (uint64_t n = 0; n < 5; ++n) {
    EXPECT_EQ(queue_->next_chunk(), n);
    EXPECT_EQ(queue_->hand_over(), CUDA_SUCCESS);
    const bool kept = n == 0 || n == 2;
    const std::string expected = kept ? "" : n == 4 ? "w5 c s " : cat("w", n + 1, " ", kTwo);
    EXPECT_EQ(calls_since(), expected) << n;
  }
  EXPECT_TRUE(queue_->all_issued());
  // Both of a batch must be allowed to go before it goes.
  gate_.store(1);
  poll();
  EXPECT_EQ(turn_.load(), 1u);
  gate_.store(2);
  poll();
  EXPECT_EQ(turn_.load(), 2u);
  EXPECT_EQ(calls_since(), "") << "no driver call once all is handed over";
}

TEST_F(Queue, EarlyCopiesThatMayGoAlreadyAreNotWaitedFor) {
  for (uint64_t n = 0; n < 6; ++n) queue_->push_early(copy(n, n == 2 || n == 4));
  gate_.store(4);
  for (uint64_t n = 0; n < 6; ++n) EXPECT_EQ(queue_->hand_over(), CUDA_SUCCESS);
  // Of the last batch, 4 and 5, neither may go yet; 2 and 3 go together, as both may.
  EXPECT_EQ(calls_since(), cat("c s c s ", kTwo, "w6 ", kTwo));
  poll();
  EXPECT_EQ(turn_.load(), 4u);
  gate_.store(6);
  poll();
  EXPECT_EQ(turn_.load(), 6u);
}

TEST_F(Queue, ABatchOfWhichOneMayNotGoWaits) {
  for (uint64_t n = 0; n < 2; ++n) queue_->push_early(copy(n, n == 0));
  gate_.store(1);
  for (uint64_t n = 0; n < 2; ++n) EXPECT_EQ(queue_->hand_over(), CUDA_SUCCESS);
  EXPECT_EQ(calls_since(), cat("w2 ", kTwo));
}

TEST_F(Queue, LateCopiesThatMayGoGoTogether) {
  for (uint64_t n = 0; n < 6; ++n) ASSERT_TRUE(queue_->push(copy(n, n % 2 == 0)));
  poll();
  EXPECT_EQ(calls_since(), "");
  gate_.store(2);
  poll();
  EXPECT_EQ(calls_since(), kTwo);
  gate_.store(3);  // the other one of its batch may not
  poll();
  EXPECT_EQ(calls_since(), "c s ");
  gate_.store(6);
  poll();
  EXPECT_EQ(calls_since(), "c s ") << "four are under way";
  signals_[0].store(1);
  signals_[1].store(2);
  poll();
  EXPECT_EQ(calls_since(), kTwo);
}

}  // namespace
}  // namespace hfr
