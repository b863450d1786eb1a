#include "transport/verbs/device.hpp"

#include <gtest/gtest.h>

#include "transport/verbs/connection.hpp"

namespace hfr::verbs {
namespace {

// A queue pair that breaks completes all that was posted to it.
TEST(CompletionEntries, HoldAllThatCanCompleteAtOnceWhereTheDeviceCan) {
  EXPECT_EQ(completion_entries(1, 1 << 20), Connection::kReceives + SendQueue::kDepth);
  EXPECT_EQ(completion_entries(10, 1 << 20), 10 * completion_entries(1, 1 << 20));
}

TEST(CompletionEntries, AreNoMoreThanTheDeviceHas) {
  EXPECT_EQ(completion_entries(1'000, 32'767), 32'767u);
}

}  // namespace
}  // namespace hfr::verbs
