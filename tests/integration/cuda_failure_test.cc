// What goes wrong on the GPU: bad pointers and streams, abort and lost peers while a user's stream
// waits. The stream is always released, and the error names who is to blame.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "../gpu/gpu.hpp"
#include "cluster.hpp"
#include "cuda_abort.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

bool ordered_by_events() {
  const char* value = std::getenv("HFREDUCE_CUDA_MEMOPS");
  return value != nullptr && std::string(value) == "0";
}

hfr_comm_options_t cuda_options(uint32_t timeout_ms = 20'000) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_CUDA;
  options.timeout_ms = timeout_ms;
  return options;
}

TEST(CudaBadInput, PointersAndStreams) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = nullptr;
  const hfr_comm_options_t options = cuda_options();
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, &options), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  DeviceBuffer good(size_t{1} << 20);
  std::vector<float> host(1024);
  void* pinned = nullptr;
  HFR_CU(cuMemHostAlloc(&pinned, 4096, 0));
  CUdeviceptr managed = 0;
  HFR_CU(cuMemAllocManaged(&managed, 4096, CU_MEM_ATTACH_GLOBAL));

  auto refused = [&](const void* send, void* recv, size_t count, void* stream, hfr_status_t want,
                     const std::string& sentence) {
    EXPECT_EQ(hfr_all_reduce(send, recv, count, HFR_FLOAT32, HFR_SUM, comm, stream, nullptr), want)
        << sentence;
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr(sentence));
  };
  refused(host.data(), good.data(), 1024, nullptr, HFR_INVALID_ARGUMENT, "sendbuf");
  refused(good.data(), host.data(), 1024, nullptr, HFR_INVALID_ARGUMENT, "recvbuf");
  refused(pinned, good.data(), 1024, nullptr, HFR_INVALID_ARGUMENT, "sendbuf");
  refused(reinterpret_cast<void*>(managed), good.data(), 1024, nullptr, HFR_INVALID_ARGUMENT,
          "managed");
  refused(good.data(), good.data(), size_t{1} << 40, nullptr, HFR_INVALID_ARGUMENT, "last byte");

  hfr_stream_t host_stream = nullptr;
  ASSERT_EQ(hfr_stream_create(&host_stream), HFR_SUCCESS);
  refused(good.data(), good.data(), 16, host_stream, HFR_INVALID_ARGUMENT, "hfr_stream_create");
  hfr_stream_destroy(host_stream);

  GpuStream stream;
  HFR_CU(cuStreamBeginCapture(stream.get(), CU_STREAM_CAPTURE_MODE_RELAXED));
  if (ordered_by_events()) {
    refused(good.data(), good.data(), 16, stream.get(), HFR_UNSUPPORTED, "capture");
  }
  CUgraph graph = nullptr;
  HFR_CU(cuStreamEndCapture(stream.get(), &graph));
  HFR_CU(cuGraphDestroy(graph));

  // Nothing of that harmed the communicator.
  EXPECT_EQ(hfr_all_reduce(good.data(), good.data(), 1024, HFR_FLOAT32, HFR_SUM, comm, stream.get(),
                           nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  stream.synchronize();
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
  HFR_CU(cuMemFreeHost(pinned));
  HFR_CU(cuMemFree(managed));
}

TEST(CudaBadInput, AHostRankRefusesCudaStreams) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  GpuStream stream;
  float data = 1;
  EXPECT_EQ(hfr_all_reduce(&data, &data, 1, HFR_FLOAT32, HFR_SUM, comm, stream.get(), nullptr),
            HFR_INVALID_ARGUMENT);
  EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("hfr_stream_create"));
  hfr_comm_destroy(comm);
}

TEST(CudaBadInput, AHostRankRefusesGpuMemory) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  DeviceBuffer gpu(4096);
  std::vector<float> host(1024);
  CUdeviceptr managed = 0;
  HFR_CU(cuMemAllocManaged(&managed, 4096, CU_MEM_ATTACH_GLOBAL));
  void* pinned = nullptr;
  HFR_CU(cuMemHostAlloc(&pinned, 4096, 0));
  auto call = [&](const void* send, void* recv) {
    return hfr_all_reduce(send, recv, 1024, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr);
  };
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(call(gpu.data(), host.data()), HFR_INVALID_ARGUMENT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("sendbuf is memory of a GPU"));
    EXPECT_EQ(call(host.data(), gpu.data()), HFR_INVALID_ARGUMENT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("recvbuf is memory of a GPU"));
  }
  // What the CPU reaches is host memory, whoever allocated it.
  EXPECT_EQ(call(host.data(), host.data()), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(call(pinned, pinned), HFR_SUCCESS) << hfr_get_last_error(comm);
  EXPECT_EQ(call(reinterpret_cast<void*>(managed), reinterpret_cast<void*>(managed)), HFR_SUCCESS)
      << hfr_get_last_error(comm);
  hfr_comm_destroy(comm);
  HFR_CU(cuMemFreeHost(pinned));
  HFR_CU(cuMemFree(managed));
}

TEST(CudaFailure, AbortReleasesStreams) {
  HFR_NEED_GPU();
  expect_abort_releases_streams(2);
}

// Rank 1 never calls: rank 0's operation ends at the deadline and names it. Where the ranks share a
// GPU its call waits for that, else it returns before.
TEST(CudaFailure, ARankThatNeverCalls) {
  HFR_NEED_GPU();
  use_gpu();
  constexpr int kRanks = 2;
  hfr_comm_t comms[kRanks];
  const hfr_comm_options_t options = cuda_options(5000);  // setting up takes some of it
  ASSERT_EQ(hfr_comm_init_all(comms, kRanks, &options), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  GpuStream stream;
  DeviceBuffer data(4096);
  hfr_status_t status = hfr_all_reduce(data.data(), data.data(), 1024, HFR_FLOAT32, HFR_SUM,
                                       comms[0], stream.get(), nullptr);
  while (status == HFR_SUCCESS) hfr_comm_get_async_error(comms[0], &status);
  EXPECT_EQ(status, HFR_TIMEOUT);
  EXPECT_THAT(hfr_get_last_error(comms[0]), HasSubstr("rank 1"));
  stream.synchronize();
  for (hfr_comm_t comm : comms) EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

}  // namespace
}  // namespace hfr_tests
