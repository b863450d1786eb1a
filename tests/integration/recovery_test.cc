// Splitting and shrinking, with ranks as threads, through the public interfaces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <hfreduce/hfreduce.hpp>
#include <thread>

#include "cluster.hpp"

namespace hfr_tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

int rank_of(hfr_comm_t comm) {
  int rank = -1;
  EXPECT_EQ(hfr_comm_rank(comm, &rank), HFR_SUCCESS);
  return rank;
}

int size_of(hfr_comm_t comm) {
  int size = -1;
  EXPECT_EQ(hfr_comm_count(comm, &size), HFR_SUCCESS);
  return size;
}

// The sum of `mine` over `comm`, by small messages and by many chunks.
double sum_over(hfr_comm_t comm, double mine) {
  double sum = 0;
  EXPECT_EQ(hfr_all_reduce(&mine, &sum, 1, HFR_FLOAT64, HFR_SUM, comm, nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  std::vector<double> data(50'000, mine);
  EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT64, HFR_SUM, comm,
                           nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  EXPECT_EQ(std::count(data.begin(), data.end(), sum), static_cast<std::ptrdiff_t>(data.size()));
  return sum;
}

void end(hfr_comm_t comm) {
  EXPECT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(Split, ByColorThenKeyThenRank) {
  run_cluster({.ranks_per_node = {3, 3}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    // Odd and even ranks; the keys turn the order round, but for 4 and 2, which have the same.
    const int key = rank == 4 ? -2 : -rank;
    ASSERT_EQ(hfr_comm_split(comm, rank % 2, key, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(size_of(child), 3);
    const int want[] = {2, 2, 0, 1, 1, 0};
    EXPECT_EQ(rank_of(child), want[rank]);
    EXPECT_EQ(sum_over(child, rank), rank % 2 == 0 ? 6 : 9);
    // The parent goes on beside it.
    EXPECT_EQ(sum_over(comm, rank), 15);
    end(child);
    EXPECT_EQ(sum_over(comm, rank), 15);
  });
}

TEST(Split, NoColorTakesPartAndGetsNothing) {
  run_cluster({.ranks_per_node = {4}}, [](int rank, hfr_comm_t comm) {
    auto* child = reinterpret_cast<hfr_comm_t>(8);
    ASSERT_EQ(hfr_comm_split(comm, rank == 2 ? HFR_SPLIT_NOCOLOR : 7, rank, &child), HFR_SUCCESS)
        << hfr_get_last_error(comm);
    if (rank == 2) {
      EXPECT_EQ(child, nullptr);
    } else {
      EXPECT_EQ(sum_over(child, rank), 4);
      end(child);
    }
    EXPECT_EQ(sum_over(comm, 1), 4);
  });
}

TEST(Split, OfSplitsAndAfterStartedOperations) {
  run_cluster({.ranks_per_node = {2, 2}}, [](int rank, hfr_comm_t comm) {
    std::vector<float> data(100'000, 1.0f);
    hfr_request_t request = 0;
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                             nullptr, &request),
              HFR_SUCCESS);
    hfr_comm_t half = nullptr;
    ASSERT_EQ(hfr_comm_split(comm, rank / 2, 0, &half), HFR_SUCCESS);
    EXPECT_EQ(data[99'999], 4.0f);  // it was completed
    EXPECT_EQ(hfr_wait(comm, request), HFR_SUCCESS);
    hfr_comm_t self = nullptr;
    ASSERT_EQ(hfr_comm_split(half, rank, 0, &self), HFR_SUCCESS);
    EXPECT_EQ(size_of(self), 1);
    EXPECT_EQ(sum_over(self, 5), 5);
    EXPECT_EQ(sum_over(half, rank), rank < 2 ? 1 : 5);
    end(self);
    end(half);
  });
}

TEST(Split, WhoDoesNotComeIsNamed) {
  run_cluster({.ranks_per_node = {3}, .timeout_ms = 5'000}, [](int rank, hfr_comm_t comm) {
    hfr_status_t status = HFR_SUCCESS;
    if (rank == 1) {
      while (status == HFR_SUCCESS) hfr_comm_get_async_error(comm, &status);
      return;
    }
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_split(comm, 0, 0, &child), HFR_TIMEOUT);
    EXPECT_EQ(child, nullptr);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("rank 1"));
    EXPECT_NE(hfr_comm_get_async_error(comm, &status), HFR_INTERNAL_ERROR);
    EXPECT_EQ(status, HFR_TIMEOUT);
  });
}

TEST(Split, BadInputStartsNothing) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    EXPECT_EQ(hfr_comm_split(comm, 0, 0, nullptr), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_comm_split(comm, -2, 0, &child), HFR_INVALID_ARGUMENT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("color is -2"));
    EXPECT_EQ(hfr_comm_split(nullptr, 0, 0, &child), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(sum_over(comm, rank), 1);
  });
}

// Rank 0 hosts the rendezvous and is among the dead in half of the cases.
TEST(Shrink, SurvivorsKeepTheirOrder) {
  for (int gone : {0, 4, 2}) {
    std::barrier all_summed(5);
    run_cluster({.ranks_per_node = {3, 2}}, [&](int rank, hfr_comm_t comm) {
      EXPECT_EQ(sum_over(comm, rank), 10);
      all_summed.arrive_and_wait();
      if (rank == gone) return hfr_comm_abort(comm), void();
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
      EXPECT_EQ(size_of(child), 4);
      EXPECT_EQ(rank_of(child), rank < gone ? rank : rank - 1);
      EXPECT_EQ(sum_over(child, rank), 10 - gone);
      hfr_status_t status = HFR_SUCCESS;
      EXPECT_EQ(hfr_comm_get_async_error(comm, &status), HFR_SUCCESS);
      EXPECT_EQ(status, HFR_ABORTED);
      end(child);
    });
  }
}

TEST(Shrink, AHealthyCommunicatorWithoutTheExcluded) {
  run_cluster({.ranks_per_node = {2, 2}}, [](int rank, hfr_comm_t comm) {
    const int excluded[] = {1, 2};
    if (rank == 1 || rank == 2) {
      hfr_status_t status = HFR_SUCCESS;
      while (status == HFR_SUCCESS) hfr_comm_get_async_error(comm, &status);
      EXPECT_EQ(status, HFR_ABORTED);
      EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("hfr_comm_shrink"));
      return;
    }
    hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
    options.excluded = excluded;
    options.num_excluded = 2;
    hfr_comm_t child = nullptr;
    ASSERT_EQ(hfr_comm_shrink(comm, &options, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(sum_over(child, rank), 3);
    hfr_comm_t second = nullptr;
    EXPECT_EQ(hfr_comm_shrink(comm, nullptr, &second), HFR_INVALID_USAGE);
    EXPECT_EQ(second, nullptr);
    end(child);
  });
}

TEST(Shrink, DownToOne) {
  std::barrier all_summed(4);
  run_cluster({.ranks_per_node = {2, 2}}, [&](int rank, hfr_comm_t comm) {
    // Rank 0 goes first, then 1, then 2. Each destroys all that it has.
    std::vector<hfr_comm_t> line = {comm};
    for (int step = 0; step < rank; ++step) {
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(line.back(), nullptr, &child), HFR_SUCCESS)
          << hfr_get_last_error(line.back());
      if (line.back() != comm) hfr_comm_destroy(line.back());
      line.push_back(child);
      EXPECT_EQ(size_of(child), 3 - step);
      EXPECT_EQ(sum_over(child, 1), 3 - step);
      all_summed.arrive_and_wait();
    }
    all_summed.arrive_and_drop();
    hfr_comm_abort(line.back());
    if (line.back() != comm) hfr_comm_destroy(line.back());
  });
}

TEST(Shrink, OfASplitAndSplitOfAShrunk) {
  run_cluster({.ranks_per_node = {3, 3}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t half = nullptr;
    ASSERT_EQ(hfr_comm_split(comm, rank % 2, 0, &half), HFR_SUCCESS);
    if (rank / 2 != 1) {
      hfr_comm_t child = nullptr;
      ASSERT_EQ(hfr_comm_shrink(half, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(half);
      EXPECT_EQ(sum_over(child, rank), rank % 2 == 0 ? 4 : 6);
      hfr_comm_t part = nullptr;
      ASSERT_EQ(hfr_comm_split(child, 0, -rank, &part), HFR_SUCCESS);
      EXPECT_EQ(rank_of(part), rank < 2 ? 1 : 0);
      end(part);
      end(child);
    }
    hfr_comm_destroy(half);
    // What happens to a child is no matter of its parent.
    EXPECT_EQ(sum_over(comm, 1), 6);
  });
}

TEST(Shrink, TooFewIsAnErrorInTimeAndCanBeTriedAgain) {
  std::atomic<bool> tried{false};
  run_cluster({.ranks_per_node = {3}}, [&](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
    if (rank == 2) {
      options.timeout_ms = 200;
      EXPECT_EQ(hfr_comm_shrink(comm, &options, &child), HFR_TIMEOUT);
      EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("1 of 3 ranks came"));
      EXPECT_EQ(child, nullptr);
      tried = true;
    }
    while (!tried) std::this_thread::yield();
    ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(sum_over(child, rank), 3);
    end(child);
  });
}

// The others have destroyed the parent, and live on in a communicator that came out of it.
TEST(Shrink, ALateRankIsNotAloneWhenTheOthersHaveSplitOff) {
  constexpr int kRanks = 3;
  hfr_comm_t comms[kRanks], children[kRanks] = {};
  ASSERT_EQ(hfr_comm_init_all(comms, kRanks, nullptr), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      EXPECT_EQ(hfr_comm_split(comms[rank], 0, rank, &children[rank]), HFR_SUCCESS);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int rank : {1, 2}) EXPECT_EQ(hfr_comm_destroy(comms[rank]), HFR_SUCCESS);
  hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
  options.timeout_ms = 400;
  hfr_comm_t alone = nullptr;
  EXPECT_EQ(hfr_comm_shrink(comms[0], &options, &alone), HFR_TIMEOUT);
  EXPECT_THAT(hfr_get_last_error(comms[0]), HasSubstr("nothing was heard of rank 1, 2"));
  // Now they have ended.
  for (int rank : {1, 2}) EXPECT_EQ(hfr_comm_destroy(children[rank]), HFR_SUCCESS);
  options.timeout_ms = 60'000;
  ASSERT_EQ(hfr_comm_shrink(comms[0], &options, &alone), HFR_SUCCESS)
      << hfr_get_last_error(comms[0]);
  EXPECT_EQ(size_of(alone), 1);
  for (hfr_comm_t comm : {alone, comms[0], children[0]})
    EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(Shrink, AnAbortEndsTheCallWhichCanBeTriedAgain) {
  std::atomic<bool> ended{false};
  run_cluster({.ranks_per_node = {2}}, [&](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    if (rank == 0) {
      // Again and again: one that comes before the call has begun does not end it.
      std::thread aborting([&] {
        while (!ended) {
          EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      });
      EXPECT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_ABORTED);
      EXPECT_EQ(child, nullptr);
      ended = true;
      aborting.join();
    }
    while (!ended) std::this_thread::yield();
    ASSERT_EQ(hfr_comm_shrink(comm, nullptr, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(sum_over(child, rank), 1);
    end(child);
  });
}

TEST(Shrink, BadInputStartsNothing) {
  run_cluster({.ranks_per_node = {2}}, [](int rank, hfr_comm_t comm) {
    hfr_comm_t child = nullptr;
    hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
    const auto refused = [&] {
      return hfr_comm_shrink(comm, &options, &child) == HFR_INVALID_ARGUMENT && child == nullptr;
    };
    EXPECT_EQ(hfr_comm_shrink(comm, nullptr, nullptr), HFR_INVALID_ARGUMENT);
    options.num_excluded = 1;
    EXPECT_TRUE(refused());
    for (const int bad : {-1, 2, rank}) {
      options.excluded = &bad;
      EXPECT_TRUE(refused()) << bad;
    }
    for (const int count : {-1, 3}) {
      options.num_excluded = count;
      EXPECT_TRUE(refused()) << count;
    }
    options = HFR_SHRINK_OPTIONS_INIT;
    for (const size_t size : {size_t{3}, sizeof(options) - 4}) {
      options.size = size;  // the second one ends inside a pointer
      EXPECT_TRUE(refused()) << size;
    }
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("HFR_SHRINK_OPTIONS_INIT"));
    EXPECT_EQ(sum_over(comm, rank), 1);
  });
}

TEST(Recovery, InCpp) {
  run_cluster({.ranks_per_node = {3}}, [](int rank, hfr_comm_t) {
    static hfr_unique_id_t id = hfreduce::make_unique_id();
    hfreduce::Communicator comm(3, id, rank);
    auto part = comm.split(rank == 1 ? HFR_SPLIT_NOCOLOR : 0, 0);
    EXPECT_EQ(part.has_value(), rank != 1);
    if (part) {
      std::vector<double> data = {1};
      part->all_reduce(data);
      EXPECT_THAT(data, ElementsAre(2));
      part->finalize();
    }
    if (rank == 0) return;
    hfreduce::Communicator child = comm.shrink({0});
    EXPECT_EQ(child.size(), 2);
    EXPECT_THROW(comm.shrink({0}), hfreduce::Error);
    child.finalize();
  });
}

}  // namespace
}  // namespace hfr_tests
