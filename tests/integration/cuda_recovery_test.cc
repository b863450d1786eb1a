// Splitting, shrinking and suspending communicators whose ranks are on GPUs: children, and what is
// resumed, stay on the GPU of their parent, whatever their own ranks are. Threads and processes.
// Threads make and free memory and
// communicators while no stream of another thread waits (docs/cuda.md).
#include <gmock/gmock.h>

#include <latch>

#include "../gpu/ranks.hpp"
#include "cuda_chain.hpp"
#include "gpu_cluster.hpp"

namespace hfr_tests {
namespace {

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

// Small messages and many chunks, in a stream and without one. Returns what was wrong.
std::string sums(hfr_comm_t comm) {
  const int rank = rank_of(comm);
  const int num_ranks = size_of(comm);
  std::string wrong;
  for (const size_t count : {size_t{77}, size_t{3'000'001}}) {
    GpuStream stream;
    Chain chain(rank, num_ranks, count);
    DeviceBuffer data(count * 2);
    data.upload(make_input(HFR_BFLOAT16, HFR_SUM, rank, num_ranks, count));
    meet(comm);
    chain.enqueue(comm, stream, 100'000);
    stream.synchronize();
    wrong += chain.check();
    if (hfr_all_reduce(data.data(), data.data(), count, HFR_BFLOAT16, HFR_SUM, comm, nullptr,
                       nullptr) != HFR_SUCCESS) {
      wrong += hfr_get_last_error(comm);
    } else if (data.download() != make_expected(HFR_BFLOAT16, HFR_SUM, num_ranks, count)) {
      wrong += "wrong blocking sum of " + std::to_string(count);
    }
    meet(comm);
  }
  return wrong;
}

// The end of a child that is well.
std::string end(hfr_comm_t child) {
  const hfr_status_t status = hfr_comm_finalize(child);
  const std::string wrong = status == HFR_SUCCESS ? "" : hfr_get_last_error(child);
  return hfr_comm_destroy(child) == HFR_SUCCESS ? wrong : wrong + "not destroyed";
}

// Odd and even ranks, each half in the opposite order, beside the parent.
std::string split_and_sum(int rank, hfr_comm_t comm) {
  hfr_comm_t child = nullptr;
  if (hfr_comm_split(comm, rank % 2, -rank, &child) != HFR_SUCCESS) return hfr_get_last_error(comm);
  std::string wrong = size_of(child) == 2 ? "" : "a child of another size; ";
  if (rank_of(child) != 1 - rank / 2) wrong += "another order; ";
  wrong += sums(child) + sums(comm) + sums(child);
  wrong += end(child);
  meet(comm);
  return wrong + sums(comm);
}

// Before those with threads, as a driver that was started does not survive a fork.
TEST(CudaRecoveryProcesses, Split) {
  Ranks ranks({.num_ranks = 4}, [](int rank, const Ranks::Comms& comms, const Ranks::Say&) {
    const std::string wrong = split_and_sum(rank, comms[0]);
    if (!wrong.empty()) return wrong;
    return std::string(hfr_comm_finalize(comms[0]) == HFR_SUCCESS ? ""
                                                                  : hfr_get_last_error(comms[0]));
  });
  if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
}

// Sums, steps aside, and sums again.
std::string suspend_and_sum(hfr_comm_t comm) {
  std::string wrong = sums(comm);
  for (int time = 0; time < 2; ++time) {
    if (hfr_comm_suspend(comm) != HFR_SUCCESS) return wrong + hfr_get_last_error(comm);
    if (hfr_comm_resume(comm) != HFR_SUCCESS) return wrong + hfr_get_last_error(comm);
    wrong += sums(comm);
  }
  return wrong;
}

TEST(CudaRecoveryProcesses, Suspend) {
  Ranks ranks({.num_ranks = 4}, [](int, const Ranks::Comms& comms, const Ranks::Say&) {
    const std::string wrong = suspend_and_sum(comms[0]);
    if (!wrong.empty()) return wrong;
    return std::string(hfr_comm_finalize(comms[0]) == HFR_SUCCESS ? ""
                                                                  : hfr_get_last_error(comms[0]));
  });
  if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
}

// One is killed while the others' operations stand in their streams.
TEST(CudaRecoveryProcesses, ShrinkWhenOneIsKilled) {
  constexpr int kRanks = 4;
  for (const int victim : {0, 3}) {
    Ranks ranks(
        {.num_ranks = kRanks},
        [victim](int rank, const Ranks::Comms& comms, const Ranks::Say& say) -> std::string {
          hfr_comm_t comm = comms[0];
          GpuStream stream;
          DeviceBuffer data(size_t{16} << 20);
          say("ready");
          hfr_status_t status = HFR_SUCCESS;
          for (int i = 0; status == HFR_SUCCESS; ++i) {
            if (rank == victim && i == 10) say("enough");
            status = hfr_all_reduce(data.data(), data.data(), size_t{4} << 20, HFR_FLOAT32, HFR_SUM,
                                    comm, stream.get(), nullptr);
          }
          stream.synchronize();
          hfr_comm_t child = nullptr;
          if (hfr_comm_shrink(comm, nullptr, &child) != HFR_SUCCESS)
            return hfr_get_last_error(comm);
          if (size_of(child) != kRanks - 1) return "another size";
          const std::string wrong = sums(child);
          return wrong + end(child);
        });
    if (const std::string why = ranks.expect_all_say("ready"); !why.empty()) GTEST_SKIP() << why;
    ASSERT_EQ(ranks.line(victim), "enough");
    ranks.strike(victim);
    for (int rank = 0; rank < kRanks; ++rank) {
      if (rank != victim) {
        EXPECT_EQ(ranks.line(rank), "end ") << "rank " << rank;
      }
    }
  }
}

TEST(CudaRecoveryThreads, Split) {
  HFR_NEED_GPU();
  run_cluster(gpu_shape({4}), [](int rank, hfr_comm_t comm) {
    EXPECT_EQ(split_and_sum(rank, comm), "") << "rank " << rank;
  });
}

// Memory of the GPU keeps all from it; afterwards none is held meanwhile.
TEST(CudaRecoveryThreads, Suspend) {
  HFR_NEED_GPU();
  use_gpu();
  const auto free_bytes = [] {
    size_t free = 0, total = 0;
    EXPECT_EQ(Cuda::get().cuMemGetInfo(&free, &total), CUDA_SUCCESS);
    return free;
  };
  constexpr size_t kMine = size_t{64} << 20;
  std::latch all_suspended(4), looked(1);
  size_t before = 0;
  run_cluster(gpu_shape({4}), [](int, hfr_comm_t comm) { EXPECT_EQ(sums(comm), ""); });
  before = free_bytes();
  run_cluster(gpu_shape({4}), [&](int rank, hfr_comm_t comm) {
    void* memory = nullptr;
    if (rank == 1) {
      ASSERT_EQ(hfr_mem_alloc(comm, &memory, kMine), HFR_SUCCESS) << hfr_get_last_error(comm);
    }
    EXPECT_EQ(hfr_comm_suspend(comm), HFR_INVALID_USAGE);
    EXPECT_THAT(hfr_get_last_error(comm), testing::HasSubstr("rank 1 (node 0) has memory"));
    EXPECT_EQ(hfr_mem_free(comm, memory), HFR_SUCCESS);
    EXPECT_EQ(suspend_and_sum(comm), "") << "rank " << rank;
    ASSERT_EQ(hfr_comm_suspend(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
    all_suspended.arrive_and_wait();
    if (rank == 0) {
      EXPECT_GE(free_bytes() + (size_t{8} << 20), before);
      looked.count_down();
    }
    looked.wait();
    ASSERT_EQ(hfr_comm_resume(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(sums(comm), "") << "rank " << rank;
  });
}

// One aborts while the others wait for it in a stream; those shrink, and shrink again without the
// one that is excluded.
TEST(CudaRecoveryThreads, ShrinkAndShrinkAgain) {
  HFR_NEED_GPU();
  constexpr int kRanks = 4;
  for (const int gone : {0, 2}) {
    // Making and freeing memory of a GPU waits for all of its streams.
    // And who shrinks ends what the others have not seen the end of.
    std::latch summed(kRanks), failed(kRanks - 1), summed_again(kRanks - 1), done(2);
    run_cluster(gpu_shape({kRanks}), [&](int rank, hfr_comm_t comm) {
      EXPECT_EQ(sums(comm), "") << "rank " << rank;
      GpuStream stream;
      DeviceBuffer data(size_t{8} << 20);
      summed.arrive_and_wait();
      if (rank == gone) {
        EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
        done.wait();
        return;
      }
      hfr_status_t status = HFR_SUCCESS;
      while (status == HFR_SUCCESS) {
        status = hfr_all_reduce(data.data(), data.data(), size_t{2} << 20, HFR_FLOAT32, HFR_SUM,
                                comm, stream.get(), nullptr);
      }
      EXPECT_EQ(status, HFR_ABORTED) << hfr_get_last_error(comm);
      stream.synchronize();
      failed.arrive_and_wait();
      hfr_comm_t child = nullptr;
      hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
      options.excluded = &gone;  // it is still there, and would be waited for
      options.num_excluded = 1;
      ASSERT_EQ(hfr_comm_shrink(comm, &options, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
      EXPECT_EQ(size_of(child), kRanks - 1);
      EXPECT_EQ(rank_of(child), rank < gone ? rank : rank - 1);
      EXPECT_EQ(sums(child), "") << "rank " << rank;
      summed_again.arrive_and_wait();
      const int excluded = 1;
      hfr_status_t end_status = HFR_SUCCESS;
      if (rank_of(child) == excluded) {
        while (end_status == HFR_SUCCESS) hfr_comm_get_async_error(child, &end_status);
        done.wait();
        EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
        return;
      }
      options.excluded = &excluded;
      hfr_comm_t two = nullptr;
      ASSERT_EQ(hfr_comm_shrink(child, &options, &two), HFR_SUCCESS) << hfr_get_last_error(child);
      EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
      meet(two);
      EXPECT_EQ(sums(two), "") << "rank " << rank;
      EXPECT_EQ(end(two), "") << "rank " << rank;
      done.count_down();
    });
  }
}

}  // namespace
}  // namespace hfr_tests
