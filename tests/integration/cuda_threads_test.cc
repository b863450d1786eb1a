// Ranks that are threads: streams, with several numbers of hardware queues. They share GPU 0, or
// the GPUs that ../gpu/gpu.hpp gives them. What is refused in a capture, and what is not.
#include <gmock/gmock.h>

#include <barrier>
#include <functional>
#include <latch>
#include <memory>
#include <random>

#include "cuda_chain.hpp"
#include "cuda_graph_scenarios.hpp"
#include "gpu_cluster.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;

// Threads that share a GPU: each call returns when all have called, long before the inputs are
// there.
class ThreadStreams : public testing::TestWithParam<int> {
 protected:
  static void run(const std::function<void(int rank, hfr_comm_t comm)>& body) {
    run_cluster(gpu_shape({GetParam()}), body);
  }
};

TEST_P(ThreadStreams, CallsReturnBeforeTheInputIsThere) {
  HFR_NEED_GPU();
  if (calls_wait()) GTEST_SKIP() << "without stream memory operations calls wait";
  Gate gate;
  std::latch made(GetParam()), called(GetParam()), looked(GetParam());
  run([&](int rank, hfr_comm_t comm) {
    GpuStream stream;
    Chain large(rank, GetParam(), 3'000'000);
    Chain small(rank, GetParam(), 77);
    made.arrive_and_wait();  // making buffers waits for the device
    gate.hold(stream);
    large.enqueue(comm, stream, 0);
    small.enqueue(comm, stream, 0);
    called.arrive_and_wait();
    EXPECT_FALSE(stream.idle());
    looked.arrive_and_wait();
    if (rank == 0) gate.open();
    stream.synchronize();
    EXPECT_EQ(large.check() + small.check(), "") << "rank " << rank;
  });
}

TEST_P(ThreadStreams, ManyInSeveralStreams) {
  HFR_NEED_GPU();
  const char* group = std::getenv("HFREDUCE_GPU_GROUP");
  if (group != nullptr && num_gpus() > 1 && GetParam() > 2 * num_gpus()) {
    GTEST_SKIP() << "groups of threads, many on each of several GPUs: not promised (docs/cuda.md)";
  }
  std::barrier together(GetParam());
  run([&](int rank, hfr_comm_t comm) {
    GpuStream streams[3];
    std::mt19937 random(23);  // the same choices on all ranks
    std::vector<std::unique_ptr<Chain>> chains;
    for (int i = 0; i < 40; ++i) {
      const size_t count = 1 + random() % (random() % 2 == 0 ? 500 : 3'000'000);
      chains.push_back(std::make_unique<Chain>(rank, GetParam(), count));
    }
    together.arrive_and_wait();
    for (auto& chain : chains) {
      const GpuStream& stream = streams[random() % 3];
      const bool late = random() % static_cast<unsigned>(GetParam()) == static_cast<unsigned>(rank);
      chain->enqueue(comm, stream, late ? kLong / 10 : 0);
    }
    for (const GpuStream& stream : streams) stream.synchronize();
    for (auto& chain : chains) EXPECT_EQ(chain->check(), "") << "rank " << rank;
    together.arrive_and_wait();
  });
}

// Some ranks call in a stream and others without: the sums are right all the same.
TEST_P(ThreadStreams, SomeWithoutAStream) {
  HFR_NEED_GPU();
  std::barrier together(GetParam());
  run([&](int rank, hfr_comm_t comm) {
    GpuStream stream;
    for (int i = 0; i < 30; ++i) {
      const size_t count = i % 2 == 0 ? 50 : 2'000'000;
      DeviceBuffer data(count * 4);
      data.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, GetParam(), count));
      const bool in_stream = (i + rank) % 3 != 0;
      together.arrive_and_wait();
      EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm,
                               in_stream ? stream.get() : nullptr, nullptr),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
      stream.synchronize();
      EXPECT_EQ(data.download(), make_expected(HFR_FLOAT32, HFR_SUM, GetParam(), count));
      together.arrive_and_wait();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Cuda, ThreadStreams, testing::Values(2, 4, 8));

// Ranks that are threads and share a GPU cannot be captured: each is told so, the capture goes on,
// and so do calls.
TEST(CudaGraphInput, ThreadsThatShareAGpuAreRefused) {
  HFR_NEED_GPU();
  const int num_ranks = 2 * num_gpus();
  // A call that waits for the context would end the other's capture.
  std::barrier together(num_ranks);
  run_cluster(gpu_shape({num_ranks}), [&](int rank, hfr_comm_t comm) {
    GpuStream stream;
    for (const size_t count : {size_t{16}, size_t{2} << 20}) {
      DeviceBuffer data(count * 4);
      data.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, num_ranks, count));
      auto call = [&] {
        return hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm,
                              stream.get(), nullptr);
      };
      together.arrive_and_wait();
      const Graph graph(stream, CU_STREAM_CAPTURE_MODE_RELAXED, [&] {
        EXPECT_EQ(call(), HFR_UNSUPPORTED);
        EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("threads"));
      });
      together.arrive_and_wait();
      EXPECT_EQ(call(), HFR_SUCCESS) << hfr_get_last_error(comm);
      stream.synchronize();
      EXPECT_EQ(data.download(), make_expected(HFR_FLOAT32, HFR_SUM, num_ranks, count));
    }
  });
}

// Threads with a GPU each capture and replay as processes do. The scenarios whose captures are
// their thread's own: a global one fails when another thread allocates.
class ThreadGraphs : public testing::TestWithParam<size_t> {};

TEST_P(ThreadGraphs, WithAGpuEach) {
  HFR_NEED_GPU();
  if (num_gpus() < 2) GTEST_SKIP() << "one GPU, or HFREDUCE_TEST_GPUS is not set";
  if (calls_wait()) GTEST_SKIP() << "graphs need stream memory operations";
  run_cluster(gpu_shape({num_gpus()}), [](int rank, hfr_comm_t comm) {
    EXPECT_EQ(kScenarios[GetParam()].second({.rank = rank, .num_ranks = num_gpus(), .comm = comm}),
              "");
  });
}
INSTANTIATE_TEST_SUITE_P(Cuda, ThreadGraphs, testing::Range(size_t{2}, std::size(kScenarios)),
                         [](const auto& param) { return kScenarios[param.param].first; });

hfr_comm_t one_rank() {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_CUDA;
  hfr_comm_t comm = nullptr;
  EXPECT_EQ(hfr_comm_init_all(&comm, 1, &options), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  return comm;
}

// What cannot be captured is refused with a sentence, and the capture goes on.
TEST(CudaGraphInput, RefusedAndTheCaptureGoesOn) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = one_rank();
  for (CUstreamCaptureMode mode : kModes) {
    GpuStream stream;
    DeviceBuffer data(size_t{1} << 20);
    std::vector<float> host(16);
    const Graph graph(stream, mode, [&] {
      hfr_request_t request = 0;
      EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), 16, HFR_FLOAT32, HFR_SUM, comm,
                               stream.get(), &request),
                HFR_INVALID_USAGE);
      EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("NULL"));
      EXPECT_EQ(hfr_all_reduce(host.data(), data.data(), 16, HFR_FLOAT32, HFR_SUM, comm,
                               stream.get(), nullptr),
                HFR_INVALID_ARGUMENT);
      EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), 16, HFR_FLOAT32, HFR_SUM, comm,
                               stream.get(), nullptr),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
    });
    graph.launch(stream);
    stream.synchronize();
  }
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS) << hfr_get_last_error(nullptr);
}

// A stream of another GPU is refused with a sentence, and the rank goes on.
TEST(CudaStreamInput, OfAnotherGpuIsRefused) {
  HFR_NEED_GPU();
  if (num_gpus() < 2) GTEST_SKIP() << "one GPU, or HFREDUCE_TEST_GPUS is not set";
  use_gpu(1);
  const GpuStream other;
  use_gpu(0);
  hfr_comm_t comm = one_rank();
  const GpuStream mine;
  DeviceBuffer data(size_t{8} << 20);
  for (size_t count : {size_t{16}, size_t{2} << 20}) {
    auto call = [&](CUstream stream) {
      return hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm, stream,
                            nullptr);
    };
    EXPECT_EQ(call(other.get()), HFR_INVALID_ARGUMENT);
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("the stream is on CUDA device 1"));
    EXPECT_EQ(call(mine.get()), HFR_SUCCESS) << hfr_get_last_error(comm);
    mine.synchronize();
  }
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

// The driver's own streams are taken.
TEST(CudaStreamInput, TheDriversOwnAreTaken) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = one_rank();
  DeviceBuffer data(size_t{8} << 20);
  for (CUstream stream : {CU_STREAM_LEGACY, CU_STREAM_PER_THREAD}) {
    for (size_t count : {size_t{16}, size_t{2} << 20}) {
      EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm, stream,
                               nullptr),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
      EXPECT_EQ(Cuda::get().cuStreamSynchronize(stream), CUDA_SUCCESS);
    }
  }
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(CudaGraphInput, AGraphOutlivesNoCommunicator) {
  HFR_NEED_GPU();
  use_gpu();
  hfr_comm_t comm = one_rank();
  GpuStream stream;
  DeviceBuffer data(size_t{8} << 20);
  auto graph = std::make_unique<Graph>(stream, CU_STREAM_CAPTURE_MODE_GLOBAL, [&] {
    for (size_t count : {size_t{16}, size_t{2} << 20}) {
      EXPECT_EQ(hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm,
                               stream.get(), nullptr),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
    }
  });
  graph->launch(stream);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_INVALID_USAGE);
  EXPECT_THAT(hfr_get_last_error(nullptr), HasSubstr("2 operations"));
  graph->launch(stream);  // still in use
  graph.reset();
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  stream.synchronize();
}

}  // namespace
}  // namespace hfr_tests
