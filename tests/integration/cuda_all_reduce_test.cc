// All-reduce of GPU memory: ranks are threads, on the GPUs that ../gpu/gpu.hpp gives them, through
// the public C interface.
// With HFREDUCE_CUDA_MEMOPS=0 the same tests run ordered by events.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "gpu_cluster.hpp"
#include "values.hpp"

namespace hfr_tests {
namespace {

struct Job {
  hfr_dtype_t dtype = HFR_FLOAT32;
  hfr_op_t op = HFR_SUM;
  size_t count = 0;
  bool in_place = false;
  size_t send_offset = 0;  // elements
  size_t recv_offset = 0;
};

// One blocking operation of a rank whose buffers are on the GPU, and its check.
void check_on_gpu(hfr_comm_t comm, int rank, int num_ranks, const Job& job) {
  const size_t size = hfr_dtype_size(job.dtype);
  DeviceBuffer send(job.count * size, job.send_offset * size);
  DeviceBuffer recv(job.count * size, job.recv_offset * size);
  const std::vector<std::byte> in = make_input(job.dtype, job.op, rank, num_ranks, job.count);
  send.upload(in);
  DeviceBuffer& result = job.in_place ? send : recv;
  ASSERT_EQ(hfr_all_reduce(send.data(), result.data(), job.count, job.dtype, job.op, comm, nullptr,
                           nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
  const std::vector<std::byte> want = make_expected(job.dtype, job.op, num_ranks, job.count);
  const std::vector<std::byte> got = result.download();
  auto wrong = std::mismatch(want.begin(), want.end(), got.begin());
  EXPECT_TRUE(wrong.first == want.end())
      << "dtype " << job.dtype << " op " << job.op << " count " << job.count << " in place "
      << job.in_place << " rank " << rank << " first wrong byte " << (wrong.first - want.begin());
  EXPECT_TRUE(job.in_place || send.download() == in) << "rank " << rank << "'s input";
  EXPECT_TRUE(result.margins_untouched()) << "rank " << rank;
}

class OneGpu : public testing::TestWithParam<std::vector<int>> {
 protected:
  ClusterShape shape() const { return gpu_shape(GetParam()); }
};

TEST_P(OneGpu, EveryTypeAndOperation) {
  HFR_NEED_GPU();
  ClusterShape cluster = shape();
  cluster.chunk_bytes = 4096;
  const int n = cluster.num_ranks();
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    for (int dtype = 0; dtype < HFR_NUM_DTYPES; ++dtype) {
      for (int op = 0; op < HFR_NUM_OPS; ++op) {
        Job job{static_cast<hfr_dtype_t>(dtype), static_cast<hfr_op_t>(op), 4099,
                (dtype + op) % 2 == 0};
        if (job.op == HFR_AVG && !average_is_exact(job.dtype, n)) continue;
        check_on_gpu(comm, rank, n, job);
      }
    }
  });
}

TEST_P(OneGpu, OddSizesAndOffsets) {
  HFR_NEED_GPU();
  ClusterShape cluster = shape();
  cluster.chunk_bytes = 65536;
  const int n = cluster.num_ranks();
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    for (size_t count : {1u, 3u, 63u, 65u, 4095u, 65535u, 65537u, 131073u, 524291u}) {
      check_on_gpu(comm, rank, n, {HFR_UINT8, HFR_SUM, count, false, 1, 3});
      check_on_gpu(comm, rank, n, {HFR_BFLOAT16, HFR_SUM, count, true, 3});
      check_on_gpu(comm, rank, n, {HFR_FLOAT32, HFR_MAX, count, false, 5, 1});
      check_on_gpu(comm, rank, n, {HFR_FLOAT64, HFR_SUM, count, count % 2 == 0, 1, 1});
    }
    EXPECT_EQ(hfr_all_reduce(nullptr, nullptr, 0, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(comm);
  });
}

// As it comes: large chunks between small ones.
TEST_P(OneGpu, LargeWithDefaults) {
  HFR_NEED_GPU();
  const ClusterShape cluster = shape();
  const int n = cluster.num_ranks();
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    for (size_t bytes : {size_t{3} << 20, (size_t{20} << 20) + 4, (size_t{48} << 20) - 12}) {
      check_on_gpu(comm, rank, n, {HFR_FLOAT32, HFR_SUM, bytes / 4, false, 1, 2});
      check_on_gpu(comm, rank, n, {HFR_BFLOAT16, HFR_SUM, bytes / 2, true});
    }
  });
}

TEST_P(OneGpu, StartedTogether) {
  HFR_NEED_GPU();
  ClusterShape cluster = shape();
  cluster.chunk_bytes = 16384;
  const int n = cluster.num_ranks();
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    std::mt19937 random(5);
    std::vector<std::unique_ptr<DeviceBuffer>> buffers;
    std::vector<hfr_request_t> requests(40);
    std::vector<size_t> counts;
    for (size_t i = 0; i < requests.size(); ++i) {
      counts.push_back(random() % (random() % 2 == 0 ? 100 : 60'000));
      buffers.push_back(std::make_unique<DeviceBuffer>(counts[i] * 4));
      buffers[i]->upload(make_input(HFR_INT32, HFR_SUM, rank, n, counts[i]));
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_EQ(hfr_all_reduce(buffers[i]->data(), buffers[i]->data(), counts[i], HFR_INT32,
                               HFR_SUM, comm, nullptr, &requests[i]),
                HFR_SUCCESS)
          << hfr_get_last_error(comm);
    }
    for (size_t i = requests.size(); i-- > 0;) {
      ASSERT_EQ(hfr_wait(comm, requests[i]), HFR_SUCCESS) << hfr_get_last_error(comm);
      EXPECT_EQ(buffers[i]->download(), make_expected(HFR_INT32, HFR_SUM, n, counts[i]))
          << "operation " << i << " rank " << rank;
    }
  });
}

std::string shape_name(const testing::TestParamInfo<std::vector<int>>& info) {
  std::string name = "ranks";
  for (int ranks : info.param) name += "_" + std::to_string(ranks);
  return name;
}

// One node of 1 to 8 ranks, and several nodes.
INSTANTIATE_TEST_SUITE_P(Threads, OneGpu,
                         testing::ValuesIn(std::vector<std::vector<int>>{
                             {1}, {2}, {4}, {8}, {1, 1}, {2, 2}, {1, 3, 2}, {4, 4}}),
                         shape_name);

// Ranks whose buffers are in host memory beside ranks on the GPU.
class Mixed : public testing::TestWithParam<std::vector<int>> {};

TEST_P(Mixed, HostAndGpuRanks) {
  HFR_NEED_GPU();
  ClusterShape cluster = gpu_shape(GetParam());
  cluster.chunk_bytes = 65536;
  cluster.device_of = [](int rank) { return rank % 2 == 0 ? HFR_DEVICE_HOST : HFR_DEVICE_CUDA; };
  const int n = cluster.num_ranks();
  run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
    for (size_t count : {1u, 7u, 300u, 5000u, 100'003u, 3'000'001u}) {
      for (hfr_dtype_t dtype : {HFR_FLOAT32, HFR_BFLOAT16}) {
        if (rank % 2 == 1) {
          check_on_gpu(comm, rank, n, {dtype, HFR_SUM, count, count % 2 == 0});
          continue;
        }
        std::vector<std::byte> data = make_input(dtype, HFR_SUM, rank, n, count);
        ASSERT_EQ(
            hfr_all_reduce(data.data(), data.data(), count, dtype, HFR_SUM, comm, nullptr, nullptr),
            HFR_SUCCESS)
            << hfr_get_last_error(comm);
        EXPECT_EQ(data, make_expected(dtype, HFR_SUM, n, count)) << count << " rank " << rank;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, Mixed,
                         testing::ValuesIn(std::vector<std::vector<int>>{{2}, {5}, {1, 1}, {2, 3}}),
                         shape_name);

TEST(CudaMemory, AllocateAndFree) {
  HFR_NEED_GPU();
  run_cluster(gpu_shape({2}), [](int rank, hfr_comm_t comm) {
    constexpr size_t kCount = 100'000;
    void* data = nullptr;
    ASSERT_EQ(hfr_mem_alloc(comm, &data, kCount * 4), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 4096, 0u);
    std::vector<std::byte> host(kCount * 4, std::byte{1});
    const auto address = reinterpret_cast<CUdeviceptr>(data);
    HFR_CU(cuMemcpyDtoH(host.data(), address, host.size()));
    EXPECT_EQ(host, std::vector<std::byte>(host.size())) << "memory comes zeroed";
    const auto in = make_input(HFR_FLOAT32, HFR_SUM, rank, 2, kCount);
    HFR_CU(cuMemcpyHtoD(address, in.data(), in.size()));
    HFR_CU(cuCtxSynchronize());  // the copy may return while the last bytes are on their way
    ASSERT_EQ(hfr_all_reduce(data, data, kCount, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(comm);
    HFR_CU(cuMemcpyDtoH(host.data(), address, host.size()));
    EXPECT_EQ(host, make_expected(HFR_FLOAT32, HFR_SUM, 2, kCount));
    EXPECT_EQ(hfr_mem_free(comm, host.data()), HFR_INVALID_ARGUMENT);
    EXPECT_EQ(hfr_mem_free(comm, data), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(hfr_mem_free(comm, data), HFR_INVALID_ARGUMENT) << "twice";
  });
}

// A communicator costs streams and staging, which is host memory.
TEST(CudaMemory, DeviceMemoryUseIsNearZero) {
  HFR_NEED_GPU();
  use_gpu();
  auto used_by = [&](auto&& body) {
    size_t before = 0, after = 0, total = 0;
    EXPECT_EQ(Cuda::get().cuMemGetInfo(&before, &total), CUDA_SUCCESS);
    body([&] { EXPECT_EQ(Cuda::get().cuMemGetInfo(&after, &total), CUDA_SUCCESS); });
    return before > after ? before - after : 0;
  };
  const ClusterShape cluster = gpu_shape({4});
  run_cluster(cluster, [](int, hfr_comm_t) {});  // what the driver sets up once
  const size_t used = used_by([&](auto&& look) {
    run_cluster(cluster, [&](int rank, hfr_comm_t comm) {
      EXPECT_EQ(hfr_all_reduce(nullptr, nullptr, 0, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
                HFR_SUCCESS);
      if (rank == 0) look();
      EXPECT_EQ(hfr_all_reduce(nullptr, nullptr, 0, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
                HFR_SUCCESS);
    });
  });
  EXPECT_LE(used, size_t{64} << 20) << "4 ranks' communicators";
}

}  // namespace
}  // namespace hfr_tests
