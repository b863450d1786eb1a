// An abort while streams wait, for ranks that are threads.
#pragma once

#include <gmock/gmock.h>

#include <latch>
#include <thread>
#include <vector>

#include "../gpu/gpu.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_tests {

// Rank 1's input does not come; an abort from another thread lets all streams go.
inline void expect_abort_releases_streams(int num_ranks) {
  std::vector<hfr_comm_t> comms(static_cast<size_t>(num_ranks));
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_CUDA;
  options.timeout_ms = 60'000;
  ASSERT_EQ(hfr_comm_init_all(comms.data(), num_ranks, &options), HFR_SUCCESS)
      << hfr_get_last_error(nullptr);
  Gate gate;
  std::latch ready(num_ranks + 1), passed(num_ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank, comm = comms[static_cast<size_t>(rank)]] {
      use_gpu(rank);
      GpuStream stream;
      DeviceBuffer data(size_t{8} << 20);
      ready.arrive_and_wait();
      if (rank == 1) gate.hold(stream);
      hfr_status_t status = hfr_all_reduce(data.data(), data.data(), size_t{2} << 20, HFR_FLOAT32,
                                           HFR_SUM, comm, stream.get(), nullptr);
      while (status == HFR_SUCCESS) hfr_comm_get_async_error(comm, &status);
      EXPECT_EQ(status, HFR_ABORTED);
      EXPECT_THAT(hfr_get_last_error(comm), testing::HasSubstr("rank 0"));
      if (rank == 1) gate.open();
      stream.synchronize();
      // Freeing memory waits for all streams, and keeps other ranks' calls back meanwhile.
      passed.arrive_and_wait();
    });
  }
  ready.arrive_and_wait();
  EXPECT_EQ(hfr_comm_abort(comms[0]), HFR_SUCCESS);
  for (std::thread& thread : threads) thread.join();
  for (hfr_comm_t comm : comms) EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

}  // namespace hfr_tests
