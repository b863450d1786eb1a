// What a profiler that is attached by NVTX is told.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace {

template <typename Function>
Function* function(const char* name) {
  void* listener = dlopen(std::getenv("NVTX_INJECTION64_PATH"), RTLD_NOW | RTLD_NOLOAD);
  return listener == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(listener, name));
}

TEST(Nvtx, OperationsAndAddsAreRanges) {
  setenv("HFREDUCE_DIRECT", "0", 1);  // chunks are added on the lanes
  hfr_comm_t comms[2] = {};
  ASSERT_EQ(hfr_comm_init_all(comms, 2, nullptr), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  auto* begun = function<uint64_t(const char*)>("nvtx_listener_begun");
  auto* bytes = function<uint64_t(const char*)>("nvtx_listener_bytes");
  auto* open = function<uint64_t()>("nvtx_listener_open");
  ASSERT_NE(begun, nullptr) << "the headers did not load the listener";
  constexpr size_t kCount = size_t{1} << 20;
  std::vector<float> data[2] = {std::vector<float>(kCount, 1.0f), std::vector<float>(kCount, 2.0f)};
  for (int round = 0; round < 3; ++round) {
    hfr_request_t requests[2];
    for (int r = 0; r < 2; ++r) {
      ASSERT_EQ(hfr_all_reduce(data[r].data(), data[r].data(), kCount, HFR_FLOAT32, HFR_MAX,
                               comms[r], nullptr, &requests[r]),
                HFR_SUCCESS);
    }
    for (int r = 0; r < 2; ++r) ASSERT_EQ(hfr_wait(comms[r], requests[r]), HFR_SUCCESS);
  }
  EXPECT_EQ(begun("all_reduce"), 6u);
  EXPECT_EQ(bytes("all_reduce"), 6 * kCount * sizeof(float));
  // Each chunk is added by one of the two.
  EXPECT_GE(begun("add"), 3u);
  EXPECT_EQ(bytes("add"), 3 * kCount * sizeof(float));
  EXPECT_EQ(open(), 0u);
  EXPECT_EQ(begun("ended twice"), 0u);
  // What fails ends, too.
  hfr_request_t request = 0;
  ASSERT_EQ(hfr_all_reduce(data[0].data(), data[0].data(), kCount, HFR_FLOAT32, HFR_MAX, comms[0],
                           nullptr, &request),
            HFR_SUCCESS);
  EXPECT_EQ(open(), 1u);
  ASSERT_EQ(hfr_comm_abort(comms[0]), HFR_SUCCESS);
  EXPECT_EQ(open(), 0u);
  for (hfr_comm_t comm : comms) EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
  unsetenv("HFREDUCE_DIRECT");
}

}  // namespace
