// Runs communicators as threads of the test: nodes by HFREDUCE_HOSTID, all through the public C
// interface.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

struct ClusterShape {
  std::vector<int> ranks_per_node = {1};
  uint32_t window = 0;
  size_t chunk_bytes = 0;
  uint32_t timeout_ms = 60'000;
  hfr_device_t device = HFR_DEVICE_DEFAULT;
  std::function<hfr_device_t(int rank)> device_of;  // where ranks differ
  std::function<void(int rank)> begin;              // on the rank's thread, before all else

  int num_ranks() const {
    int sum = 0;
    for (int ranks : ranks_per_node) sum += ranks;
    return sum;
  }
};

// Runs `body(rank, comm)` on a thread for each rank. The communicator is finalized, when nothing
// failed, and destroyed afterwards.
inline void run_cluster(const ClusterShape& shape,
                        const std::function<void(int, hfr_comm_t)>& body) {
  hfr_unique_id_t id;
  ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  const int num_ranks = shape.num_ranks();
  std::vector<std::thread> threads;
  int rank = 0;
  for (size_t node = 0; node < shape.ranks_per_node.size(); ++node) {
    for (int local = 0; local < shape.ranks_per_node[node]; ++local, ++rank) {
      threads.emplace_back([&, node, rank] {
        if (shape.begin) shape.begin(rank);
        std::string host_id = "node" + std::to_string(node);
        hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
        options.host_id = host_id.c_str();
        options.window = shape.window;
        options.chunk_bytes = shape.chunk_bytes;
        options.timeout_ms = shape.timeout_ms;
        options.device = shape.device_of ? shape.device_of(rank) : shape.device;
        hfr_comm_t comm = nullptr;
        hfr_status_t status = hfr_comm_init_rank(&comm, num_ranks, &id, rank, &options);
        ASSERT_EQ(status, HFR_SUCCESS) << "rank " << rank << ": " << hfr_get_last_error(nullptr);
        body(rank, comm);
        hfr_status_t sticky = HFR_SUCCESS;
        hfr_comm_get_async_error(comm, &sticky);
        if (sticky == HFR_SUCCESS) {
          EXPECT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
        }
        EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace hfr_tests
