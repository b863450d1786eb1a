// Small operations that a caller waits for, from ranks that are alone on their nodes.
#include <gtest/gtest.h>

#include <functional>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

// Between nodes of one rank, where callers wait. Puts over loopback end with the receiver's poll,
// so that nobody finishes in the call itself.
TEST(ExchangePath, SmallOnesOfLoneRanksGoOnWhereTheCallLeftThem) {
  for (size_t nodes : {2u, 3u, 4u, 7u, 8u}) {
    EngineCluster cluster({.ranks_per_node = std::vector<int>(nodes, 1)});
    for (uint64_t number = 0; number < 40; ++number) {
      Buffers buffers(cluster.num_ranks(), 1 + number * 13, number % 2 == 1);
      auto call = [&](int rank, uint32_t num_looks) {
        EXPECT_EQ(cluster[rank].submit_and_finish(buffers.descriptor(rank), num_looks), number);
      };
      const int last = static_cast<int>(number) % cluster.num_ranks();
      for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
        if (rank == last) continue;
        call(rank, number % 3);
        EXPECT_FALSE(cluster[rank].done(number)) << "rank " << rank << " has finished alone";
      }
      call(last, 8);
      if (nodes == 2) {
        EXPECT_FALSE(cluster[last].done(number));
        for (int rank : {1 - last, last}) {
          cluster[rank].progress();
          EXPECT_TRUE(cluster[rank].done(number)) << "rank " << rank;
        }
      }
      for (int turns = 0; turns < 100 && !cluster.all_done(number); ++turns) cluster.turn();
      ASSERT_TRUE(cluster.all_done(number));
      buffers.check();
    }
  }
}

// Gives others turns before each poll, as if they ran meanwhile.
class DrivingTransport : public ForwardingTransport {
 public:
  DrivingTransport(std::unique_ptr<hfr::Transport> inner, std::function<void()>& drive)
      : ForwardingTransport(std::move(inner)), drive_(drive) {}
  size_t poll(std::span<hfr::TransportEvent> events) override {
    if (drive_) drive_();
    return ForwardingTransport::poll(events);
  }

 private:
  std::function<void()>& drive_;
};

// Of two, five and eight nodes; the first rank's call sees the others come.
TEST(ExchangePath, ASmallOneIsFinishedInTheCall) {
  for (size_t nodes : {2u, 5u, 8u}) {
    std::function<void()> drive;
    EngineCluster cluster(
        {.ranks_per_node = std::vector<int>(nodes, 1),
         .recorded = true,
         .wrap_transport = [&](int rank, const hfr::Clock&, std::unique_ptr<hfr::Transport> inner)
             -> std::unique_ptr<hfr::Transport> {
           if (rank != 0) return inner;
           return std::make_unique<DrivingTransport>(std::move(inner), drive);
         }});
    for (uint64_t number = 0; number < 20; ++number) {
      Buffers buffers(cluster.num_ranks(), 1 + number * 97, number % 2 == 1);
      for (int rank = 1; rank < cluster.num_ranks(); ++rank) {
        ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
      }
      drive = [&] {
        for (int rank = 1; rank < cluster.num_ranks(); ++rank) cluster[rank].progress();
      };
      EXPECT_EQ(cluster[0].submit_and_finish(buffers.descriptor(0), 20), number);
      drive = nullptr;
      EXPECT_TRUE(cluster[0].completed(number));
      EXPECT_TRUE(cluster[0].idle());
      EXPECT_EQ(cluster.record(0).completed, number + 1);
      for (int turns = 0; turns < 100 && !cluster.all_done(number); ++turns) cluster.turn();
      buffers.check();
    }
  }
}

TEST(ExchangePath, WhatIsLongIsTimedInTheCallToo) {
  EngineCluster cluster({.ranks_per_node = {1, 1}});
  Buffers buffers(2, 40'000, false);  // 320 KB: one chunk between two nodes
  for (int rank : {0, 1}) ASSERT_TRUE(cluster[rank].submit_and_finish(buffers.descriptor(rank), 2));
  for (int turns = 0; turns < 100 && !cluster.all_done(0); ++turns) cluster.turn();
  ASSERT_TRUE(cluster.all_done(0));
  for (int rank : {0, 1}) {
    EXPECT_EQ(cluster[rank].meters().of(hfr::Stage::kOperation).totals().timed, 1u);
  }
}

// A failure that another thread announces is not overlooked.
TEST(ExchangePath, ASmallOneEndsWithAFailure) {
  EngineCluster cluster({.ranks_per_node = {1, 1}});
  Buffers buffers(2, 10, false);
  ASSERT_TRUE(cluster[0].submit(buffers.descriptor(0)));
  cluster[0].progress();
  hfr::publish_failure(cluster.context(1).staging.failure(),
                       {hfr::Status(hfr::Code::kAborted, "given up"), 1});
  ASSERT_TRUE(cluster[1].submit_and_finish(buffers.descriptor(1), 9));
  EXPECT_FALSE(cluster[1].completed(0));
  cluster[1].progress();
  EXPECT_TRUE(cluster[1].failed());
  EXPECT_FALSE(cluster[1].completed(0));
}

// What is not alone is only submitted.
TEST(ExchangePath, ASmallOneIsNotFinishedBeforeOthers) {
  EngineCluster cluster({.ranks_per_node = {1, 1}});
  Buffers large(2, 400'000, false), small(2, 10, false);
  for (int rank : {0, 1}) ASSERT_TRUE(cluster[rank].submit(large.descriptor(rank)));
  for (int rank : {0, 1}) {
    EXPECT_EQ(cluster[rank].submit_and_finish(small.descriptor(rank), 100), 1u);
    EXPECT_FALSE(cluster[rank].done(0));
    EXPECT_FALSE(cluster[rank].done(1));
  }
  for (int turns = 0; turns < 10'000 && !cluster.all_done(1); ++turns) cluster.turn();
  large.check();
  small.check();
}

}  // namespace
}  // namespace hfr_tests
