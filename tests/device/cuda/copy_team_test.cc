// What a team of queues hands to the driver for all its members, with a driver that is made up.
#include "device/cuda/copy_team.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "device/cuda/copy_queue.hpp"
#include "noted_calls.hpp"

namespace hfr {
namespace {

class Team : public testing::Test {
 protected:
  static constexpr size_t kMembers = 2;

  void SetUp() override {
    calls().clear();
    auto opened = CudaContext::open(driver_, made_up_context(1), 0);
    ASSERT_TRUE(opened.ok());
    auto team = CopyTeam::make(*opened, CopyDirection::kIn, 0);
    ASSERT_TRUE(team.ok());
    team_ = *team;
    for (size_t m = 0; m < kMembers; ++m) {
      queues_[m] = std::make_unique<CopyQueue>(**opened, CopyDirection::kIn, true, 0, team_);
      ASSERT_TRUE(queues_[m]->open(&turns_[m], 0).ok());
    }
    context_ = *opened;
  }

  // Member m's n-th copy; wait null: it waits for nothing.
  CopyDescriptor copy(size_t m, uint64_t n, const Counter* wait, uint64_t wait_value) {
    CopyDescriptor copy;
    copy.src = copy.dst = memory_;
    copy.bytes = sizeof(memory_);
    copy.wait = wait;
    copy.wait_value = wait_value;
    copy.signal = &signals_[m][n];
    copy.signal_value = n + 1;
    return copy;
  }
  // One step: the next copy of each.
  void hand_over() {
    for (auto& queue : queues_) EXPECT_EQ(queue->hand_over(), CUDA_SUCCESS);
    for (auto& queue : queues_) EXPECT_EQ(queue->end_step(), CUDA_SUCCESS);
  }
  void poll() {
    CUresult result = CUDA_SUCCESS;
    for (auto& queue : queues_) queue->poll(result);
    EXPECT_EQ(result, CUDA_SUCCESS);
  }

  const Driver driver_ = that_notes_calls();
  std::shared_ptr<CudaContext> context_;
  std::shared_ptr<CopyTeam> team_;
  std::array<std::atomic<uint64_t>, kMembers> turns_{};
  Counter gate_;
  Counter signals_[kMembers][4];
  char memory_[64] = {};
  std::array<std::unique_ptr<CopyQueue>, kMembers> queues_;
};

TEST_F(Team, ABatchWaitsOnlyWhereSomethingIsMissing) {
  gate_.store(1);
  for (uint64_t n = 0; n < 3; ++n) {
    for (size_t m = 0; m < kMembers; ++m) queues_[m]->push_early(copy(m, n, &gate_, n + 1));
  }
  hand_over();
  EXPECT_EQ(calls_since(), kTwo) << "both may go";
  hand_over();
  EXPECT_EQ(calls_since(), cat("w2 ", kTwo));
  gate_.store(3);
  hand_over();
  EXPECT_EQ(calls_since(), kTwo) << "what it waits for has come, though the batch before it waits";
  poll();
  EXPECT_EQ(calls_since(), "") << "no driver call once all is handed over";
}

// As ranks whose copies keep step have them in their first window.
TEST_F(Team, ACopyThatWaitsForItsStepAloneIsHandedOver) {
  const Counter never;
  const Counter* const awaited = &never;
  for (size_t m = 0; m < kMembers; ++m) {
    CopyDescriptor first = copy(m, 0, nullptr, 0);
    first.step = {{&awaited, 1}, 1};
    queues_[m]->push_early(first);
    CopyDescriptor second = copy(m, 1, &gate_, 1);
    second.step = first.step;
    queues_[m]->push_early(second);
  }
  hand_over();
  EXPECT_EQ(calls_since(), kTwo);
  hand_over();
  EXPECT_EQ(calls_since(), cat("w2 ", kTwo));
  poll();
  gate_.store(1);
  poll();
  EXPECT_EQ(calls_since(), "");
}

}  // namespace
}  // namespace hfr
