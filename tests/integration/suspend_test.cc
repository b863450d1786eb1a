// Suspending and resuming through the public interface, with ranks as threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <hfreduce/hfreduce.hpp>
#include <thread>

#include "cluster.hpp"
#include "held.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

// The sum of `mine` over `comm`, by a small message and by many chunks.
void expect_sum(hfr_comm_t comm, double mine, double want) {
  double sum = 0;
  EXPECT_EQ(hfr_all_reduce(&mine, &sum, 1, HFR_FLOAT64, HFR_SUM, comm, nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  EXPECT_EQ(sum, want);
  std::vector<double> data(50'000, mine);
  EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT64, HFR_SUM, comm,
                           nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  EXPECT_EQ(std::count(data.begin(), data.end(), want), static_cast<std::ptrdiff_t>(data.size()));
}

void suspend(hfr_comm_t comm) {
  ASSERT_EQ(hfr_comm_suspend(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
}
void resume(hfr_comm_t comm) {
  ASSERT_EQ(hfr_comm_resume(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
}

class Nodes : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(Nodes, SumsAreRightAfterEachOfSeveralTimes) {
  const auto [nodes, ranks] = GetParam();
  run_cluster({.ranks_per_node = std::vector<int>(static_cast<size_t>(nodes), ranks)},
              [&, num_ranks = nodes * ranks](int rank, hfr_comm_t comm) {
                const double all = num_ranks * (num_ranks - 1) / 2.0;
                expect_sum(comm, rank, all);
                for (int time = 0; time < 3; ++time) {
                  suspend(comm);
                  resume(comm);
                  // The last time without an operation between.
                  if (time < 2) expect_sum(comm, rank, all);
                }
                expect_sum(comm, rank, all);
              });
}

INSTANTIATE_TEST_SUITE_P(Suspend, Nodes,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5),
                                          testing::Values(1, 2, 4)));

// But for one listening socket each.
TEST(Suspend, NothingIsHeldMeanwhile) {
  for (const auto& nodes : {std::vector<int>{4}, std::vector<int>{2, 2}}) {
    std::barrier gate(4);
    Held before;
    const auto once = [&](int rank, const auto& action) {
      gate.arrive_and_wait();
      if (rank == 0) action();
      gate.arrive_and_wait();
    };
    // What the process keeps from its first communicator on is there already.
    run_cluster({.ranks_per_node = nodes}, [](int, hfr_comm_t comm) { expect_sum(comm, 1, 4); });
    ClusterShape shape{.ranks_per_node = nodes};
    shape.begin = [&](int rank) { once(rank, [&] { before = Held::now(); }); };
    run_cluster(shape, [&](int rank, hfr_comm_t comm) {
      for (int time = 0; time < 2; ++time) {
        // Leaves a progress thread behind, and the heap mapped.
        std::vector<float> data(100'000, 1.0f);
        void* shared = nullptr;
        ASSERT_EQ(hfr_mem_alloc(comm, &shared, size_t{4} << 20), HFR_SUCCESS);
        hfr_request_t request = 0;
        ASSERT_EQ(hfr_all_reduce(data.data(), shared, data.size(), HFR_FLOAT32, HFR_SUM, comm,
                                 nullptr, &request),
                  HFR_SUCCESS);
        ASSERT_EQ(hfr_wait(comm, request), HFR_SUCCESS);
        ASSERT_EQ(hfr_mem_free(comm, shared), HFR_SUCCESS);
        once(rank, [&] {
          const Held live = Held::now();
          EXPECT_GT(live.threads, before.threads);
          EXPECT_GT(live.mappings, 0);
          EXPECT_GT(live.files, before.files + 4);
        });
        suspend(comm);
        once(rank, [&] {
          // The id's socket was there before, and is gone.
          const Held most{.files = before.files - 1 + 4, .threads = before.threads, .mappings = 0};
          const Held held = Held::at_last(most);
          EXPECT_TRUE(held.within(most)) << held << ", not " << most;
          EXPECT_EQ(held.files, most.files);
        });
        resume(comm);
        expect_sum(comm, rank, 6);
      }
    });
  }
}

TEST(Suspend, WhatIsKept) {
  run_cluster({.ranks_per_node = {1, 2}, .window = 4, .chunk_bytes = 8192}, [](int rank,
                                                                               hfr_comm_t comm) {
    const float scale = static_cast<float>(rank + 1);
    hfr_op_t op = HFR_SUM;
    ASSERT_EQ(hfr_op_create_premul_sum(&op, &scale, HFR_FLOAT32, comm), HFR_SUCCESS);
    std::vector<float> data(30'000, 1.0f);
    hfr_request_t early = 0;
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, op, comm, nullptr,
                             &early),
              HFR_SUCCESS);
    suspend(comm);
    EXPECT_EQ(data[29'999], 6.0f);  // it was completed
    EXPECT_EQ(hfr_wait(comm, early), HFR_SUCCESS);

    const auto expect_place = [&] {
      int value = -1;
      EXPECT_TRUE(hfr_comm_rank(comm, &value) == HFR_SUCCESS && value == rank);
      EXPECT_TRUE(hfr_comm_count(comm, &value) == HFR_SUCCESS && value == 3);
      EXPECT_TRUE(hfr_comm_node(comm, &value) == HFR_SUCCESS && value == (rank + 1) / 2);
      EXPECT_TRUE(hfr_comm_node_count(comm, &value) == HFR_SUCCESS && value == 2);
      EXPECT_TRUE(hfr_comm_local_rank(comm, &value) == HFR_SUCCESS && value == (rank == 2 ? 1 : 0));
      EXPECT_TRUE(hfr_comm_local_count(comm, &value) == HFR_SUCCESS &&
                  value == (rank == 0 ? 1 : 2));
      hfr_status_t status = HFR_ABORTED;
      EXPECT_EQ(hfr_comm_get_async_error(comm, &status), HFR_SUCCESS);
      EXPECT_EQ(status, HFR_SUCCESS);
    };
    const auto expect_started = [&](uint64_t count) {
      hfr_comm_metrics_t metrics = HFR_COMM_METRICS_INIT;
      EXPECT_EQ(hfr_comm_get_metrics(comm, &metrics), HFR_SUCCESS);
      EXPECT_EQ(metrics.operations_started, count);
      EXPECT_EQ(metrics.operation.count, count);
      EXPECT_EQ(metrics.operation.bytes, count * 120'000);
    };
    expect_place();
    expect_started(1);
    for (uint64_t time = 0; time < 2; ++time) {
      resume(comm);
      expect_place();
      std::fill(data.begin(), data.end(), 1.0f);
      hfr_request_t late = 0;
      ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, op, comm,
                               nullptr, &late),
                HFR_SUCCESS);
      EXPECT_NE(late, early);
      int done = 0;
      EXPECT_EQ(hfr_test(comm, early, &done), HFR_SUCCESS);
      EXPECT_EQ(done, 1);
      EXPECT_EQ(hfr_wait(comm, late), HFR_SUCCESS);
      EXPECT_EQ(data[0], 6.0f);
      expect_started(2 + time);
      suspend(comm);
      expect_started(2 + time);
    }
    EXPECT_EQ(hfr_op_destroy(op, comm), HFR_SUCCESS);
    resume(comm);
    EXPECT_EQ(hfr_op_destroy(op, comm), HFR_INVALID_ARGUMENT);
  });
}

TEST(Suspend, CompletesWhatWasStartedInStreams) {
  run_cluster({.ranks_per_node = {2, 1}}, [](int, hfr_comm_t comm) {
    hfreduce::Stream stream;
    std::vector<float> data(100'000, 0.0f);
    for (int time = 0; time < 3; ++time) {
      stream.enqueue([&] { std::fill(data.begin(), data.end(), 1.0f); });
      ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                               stream.get(), nullptr),
                HFR_SUCCESS);
      float seen = 0;
      stream.enqueue([&] { seen = data[99'999]; });
      suspend(comm);
      stream.synchronize();
      EXPECT_EQ(seen, 3.0f);
      resume(comm);
    }
  });
}

TEST(Suspend, CallsAtTheWrongTime) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    EXPECT_EQ(hfr_comm_resume(comm), HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("not suspended"));
    suspend(comm);
    float value = 1;
    void* memory = nullptr;
    hfr_comm_t child = nullptr;
    hfr_request_t request = 0;
    int done = 0;
    const hfr_status_t wrong[] = {
        hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
        hfr_mem_alloc(comm, &memory, 8),
        hfr_mem_free(comm, &value),
        hfr_comm_split(comm, 0, 0, &child),
        hfr_comm_finalize(comm),
        hfr_comm_dump(comm, "nowhere"),
        hfr_wait(comm, request),
        hfr_test(comm, request, &done),
        hfr_comm_suspend(comm),
    };
    for (const hfr_status_t status : wrong) EXPECT_EQ(status, HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("hfr_comm_suspend: the communicator is "
                                                    "suspended; call hfr_comm_resume first"));
    resume(comm);
    expect_sum(comm, rank, 1);
    EXPECT_EQ(hfr_comm_suspend(nullptr), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_resume(nullptr), HFR_INVALID_ARGUMENT);
  });
  run_cluster({.ranks_per_node = {2}}, [](int, hfr_comm_t comm) {
    ASSERT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS);
    EXPECT_EQ(hfr_comm_suspend(comm), HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("finalized"));
    hfr_comm_abort(comm);
  });
}

TEST(Suspend, MemoryThatIsHeldKeepsAllFromIt) {
  run_cluster({.ranks_per_node = {1, 2}}, [](int rank, hfr_comm_t comm) {
    void* memory = nullptr;
    if (rank == 2) {
      ASSERT_EQ(hfr_mem_alloc(comm, &memory, 8), HFR_SUCCESS);
    }
    EXPECT_EQ(hfr_comm_suspend(comm), HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("rank 2 (node 1) has memory"));
    expect_sum(comm, rank, 3);
    EXPECT_EQ(hfr_mem_free(comm, memory), HFR_SUCCESS);
    suspend(comm);
    resume(comm);
    expect_sum(comm, rank, 3);
  });
}

TEST(Suspend, WhoDoesNotComeIsNamed) {
  run_cluster({.ranks_per_node = {3}, .timeout_ms = 5'000}, [](int rank, hfr_comm_t comm) {
    hfr_status_t status = HFR_SUCCESS;
    if (rank == 1) {
      while (status == HFR_SUCCESS) hfr_comm_get_async_error(comm, &status);
      return;
    }
    EXPECT_EQ(hfr_comm_suspend(comm), HFR_TIMEOUT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("rank 1"));
    EXPECT_EQ(hfr_comm_suspend(comm), HFR_TIMEOUT);  // it has failed
    EXPECT_EQ(hfr_comm_resume(comm), HFR_INVALID_USAGE);
  });
}

// Another rank's operation waits for the one that suspends: both end at the deadline.
TEST(Suspend, BesideAnOperationOfAnother) {
  run_cluster({.ranks_per_node = {2}, .timeout_ms = 5'000}, [](int rank, hfr_comm_t comm) {
    float value = 1;
    const hfr_status_t status =
        rank == 0 ? hfr_comm_suspend(comm)
                  : hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr);
    EXPECT_EQ(status, HFR_TIMEOUT) << hfr_get_last_error(comm);
    EXPECT_EQ(hfr_comm_resume(comm), HFR_INVALID_USAGE);
  });
}

// All of it may be tried again.
TEST(Resume, WhoDoesNotComeIsNamed) {
  std::vector<std::thread> clusters;  // at once: most of their time is waiting
  for (const int late : {0, 2}) {
    clusters.emplace_back([late] {
      std::barrier tried(3);
      run_cluster({.ranks_per_node = {2, 1}, .timeout_ms = 10'000}, [&](int rank, hfr_comm_t comm) {
        suspend(comm);
        if (rank != late) {
          EXPECT_EQ(hfr_comm_resume(comm), HFR_TIMEOUT);
          EXPECT_THAT(hfr_get_last_error(comm),
                      HasSubstr("rank " + std::to_string(late) + " did not come"));
        }
        tried.arrive_and_wait();
        resume(comm);
        expect_sum(comm, rank, 3);
      });
    });
  }
  for (std::thread& cluster : clusters) cluster.join();
}

TEST(Resume, WhoseHandleIsGoneIsNamedAndTheOthersShrink) {
  for (const int gone : {0, 1, 2}) {
    std::barrier destroyed(3);
    run_cluster({.ranks_per_node = {2, 1}}, [&](int rank, hfr_comm_t comm) {
      hfr_comm_t part = nullptr;
      ASSERT_EQ(hfr_comm_split(comm, 0, 0, &part), HFR_SUCCESS);
      suspend(part);
      if (rank == gone) {
        EXPECT_EQ(hfr_comm_destroy(part), HFR_SUCCESS);
      }
      destroyed.arrive_and_wait();
      if (rank == gone) return;
      for (int time = 0; time < 2; ++time) {
        EXPECT_EQ(hfr_comm_resume(part), HFR_REMOTE_ERROR);
        EXPECT_THAT(hfr_get_last_error(part),
                    HasSubstr("rank " + std::to_string(gone) + " has ended"));
      }
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(part, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(part);
      EXPECT_EQ(hfr_comm_destroy(part), HFR_SUCCESS);
      expect_sum(child, rank, 3 - gone);
      suspend(child);
      resume(child);
      expect_sum(child, rank, 3 - gone);
      EXPECT_EQ(hfr_comm_finalize(child), HFR_SUCCESS);
      EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
    });
  }
}

TEST(Resume, AnAbortEndsIt) {
  for (const int aborting : {0, 2}) {
    std::barrier ended(3);
    run_cluster({.ranks_per_node = {2, 1}}, [&](int rank, hfr_comm_t comm) {
      suspend(comm);
      hfr_status_t status = HFR_SUCCESS;
      if (rank == aborting) {
        // Once the call waits for the others, or before: it ends either way.
        std::thread abort([&] { EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS); });
        EXPECT_EQ(hfr_comm_resume(comm), HFR_ABORTED);
        abort.join();
        EXPECT_EQ(hfr_comm_resume(comm), HFR_ABORTED);
        EXPECT_EQ(hfr_comm_get_async_error(comm, &status), HFR_SUCCESS);
        EXPECT_EQ(status, HFR_ABORTED);
      }
      ended.arrive_and_wait();
      // It may be shrunk, with all who come.
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
      expect_sum(child, rank, 3);
      EXPECT_EQ(hfr_comm_finalize(child), HFR_SUCCESS);
      EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
      EXPECT_EQ(hfr_comm_resume(comm), HFR_INVALID_USAGE);
      EXPECT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_INVALID_USAGE);
      EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("was shrunk"));
    });
  }
}

// Again and again, at any moment of the call: the ranks that wait for it hear of it, too.
TEST(Resume, AnAbortAtAnyMoment) {
  for (int moment = 0; moment < 12; ++moment) {
    run_cluster({.ranks_per_node = {1, 1}}, [&](int rank, hfr_comm_t comm) {
      suspend(comm);
      std::thread abort;
      if (rank == 0) {
        abort = std::thread([&] {
          const auto strike =
              std::chrono::steady_clock::now() + std::chrono::milliseconds(2 * moment);
          while (std::chrono::steady_clock::now() < strike) std::this_thread::yield();
          EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
        });
      }
      hfr_status_t status = hfr_comm_resume(comm);
      float value = 1;
      while (status == HFR_SUCCESS) {  // it came later
        status = hfr_all_reduce(&value, &value, 1, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr);
      }
      EXPECT_TRUE(status == HFR_ABORTED || status == HFR_REMOTE_ERROR) << hfr_get_last_error(comm);
      if (rank == 0) {
        EXPECT_EQ(status, HFR_ABORTED);
        abort.join();
      }
      EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);  // no finalizing
    });
  }
}

// One knows better, and shrinks; those that resume are told, and shrink as well.
TEST(Resume, BesideAShrinkOfAnother) {
  for (const int shrinking : {0, 2}) {
    run_cluster({.ranks_per_node = {2, 1}}, [&](int rank, hfr_comm_t comm) {
      suspend(comm);
      if (rank != shrinking) {
        EXPECT_EQ(hfr_comm_resume(comm), HFR_REMOTE_ERROR);
        EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("hfr_comm_shrink"));
      }
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
      expect_sum(child, rank, 3);
      EXPECT_EQ(hfr_comm_finalize(child), HFR_SUCCESS);
      EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
    });
  }
}

TEST(Resume, ChildrenAndParentsAreSuspendedEachForItself) {
  run_cluster({.ranks_per_node = {2, 2}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t half = nullptr;
    ASSERT_EQ(hfr_comm_split(comm, rank % 2, 0, &half), HFR_SUCCESS);
    suspend(comm);
    expect_sum(half, rank, rank % 2 == 0 ? 2 : 4);
    suspend(half);
    resume(comm);
    expect_sum(comm, rank, 6);
    // One half shrinks as it is suspended, the other is resumed, shrinks, and its child goes on.
    hfr_comm_t child = nullptr;
    if (rank % 2 == 0) resume(half);
    ASSERT_EQ(hfr_comm_shrink(half, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(half);
    EXPECT_EQ(hfr_comm_destroy(half), HFR_SUCCESS);
    for (int time = 0; time < 2; ++time) {
      suspend(child);
      expect_sum(comm, rank, 6);
      resume(child);
      expect_sum(child, rank, rank % 2 == 0 ? 2 : 4);
    }
    EXPECT_EQ(hfr_comm_finalize(child), HFR_SUCCESS);
    EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
  });
}

// While threads ask and ask.
TEST(Resume, QueriesMayRunBesideIt) {
  run_cluster({.ranks_per_node = {1, 1}}, [](int rank, hfr_comm_t comm) {
    std::atomic<bool> over{false};
    std::thread asking([&] {
      while (!over) {
        int value = -1;
        EXPECT_EQ(hfr_comm_rank(comm, &value), HFR_SUCCESS);
        EXPECT_EQ(value, rank);
        hfr_comm_metrics_t metrics = HFR_COMM_METRICS_INIT;
        EXPECT_EQ(hfr_comm_get_metrics(comm, &metrics), HFR_SUCCESS);
        hfr_status_t status = HFR_ABORTED;
        EXPECT_EQ(hfr_comm_get_async_error(comm, &status), HFR_SUCCESS);
        EXPECT_EQ(status, HFR_SUCCESS);
        std::this_thread::yield();
      }
    });
    for (int time = 0; time < 10; ++time) {
      suspend(comm);
      resume(comm);
    }
    over = true;
    asking.join();
    expect_sum(comm, rank, 1);
  });
}

TEST(Resume, InCpp) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t) {
    static hfr_unique_id_t id = hfreduce::make_unique_id();
    hfreduce::Communicator comm(2, id, rank);
    EXPECT_THROW(comm.resume(), hfreduce::Error);
    comm.suspend();
    EXPECT_THROW(comm.suspend(), hfreduce::Error);
    EXPECT_EQ(comm.size(), 2);
    comm.resume();
    std::vector<double> data = {1};
    comm.all_reduce(data);
    EXPECT_EQ(data[0], 2);
    comm.finalize();
  });
}

}  // namespace
}  // namespace hfr_tests
