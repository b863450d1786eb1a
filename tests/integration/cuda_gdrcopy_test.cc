// Small messages that the CPU copies through GDRCopy, of which a stand-in is loaded
// (../gpu/gdrapi_stand_in.hpp): sums, who copied, and what stays pinned. Ranks share GPU 0.
#include <gmock/gmock.h>

#include <array>
#include <barrier>

#include "../gpu/gdrapi_stand_in.hpp"
#include "../gpu/ranks.hpp"
#include "cuda_chain.hpp"
#include "gpu_cluster.hpp"

namespace hfr_tests {
namespace {

constexpr const char* kLibrary = "libgdrapi.so.2";
constexpr int kTimes = 8;  // enough for a buffer to be mapped, and then some

// "" when it came out right.
std::string sum_once(int rank, int n, hfr_comm_t comm, CUstream stream, DeviceBuffer& send,
                     DeviceBuffer& recv, size_t count) {
  send.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, n, count));
  if (hfr_all_reduce(send.data(), recv.data(), count, HFR_FLOAT32, HFR_SUM, comm, stream,
                     nullptr) != HFR_SUCCESS) {
    return hfr_get_last_error(comm);
  }
  if (Cuda::get().cuStreamSynchronize(stream) != CUDA_SUCCESS) return "the stream failed";
  if (recv.download() != make_expected(HFR_FLOAT32, HFR_SUM, n, count))
    return "wrong sum of " + std::to_string(count) + "; ";
  return recv.margins_untouched() ? "" : "written beside the result; ";
}

class GdrCopyRanks : public testing::TestWithParam<int> {
 protected:
  using Body = std::function<std::string(int rank, hfr_comm_t comm, GdrStandIn& stand_in)>;
  static void run(const Body& body) {
    Ranks ranks({.num_ranks = GetParam()},
                [&](int rank, const Ranks::Comms& comms, const Ranks::Say&) -> std::string {
                  GdrStandIn* stand_in = GdrStandIn::of(kLibrary);
                  if (stand_in == nullptr) return "the stand-in was not loaded";
                  return body(rank, comms[0], *stand_in);
                });
    if (const std::string skip = ranks.expect_all_well(); !skip.empty()) GTEST_SKIP() << skip;
  }
};

TEST_P(GdrCopyRanks, TheCpuCopies) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) {
    GpuStream stream;
    std::string wrong;
    for (size_t count : {1u, 3u, 1000u, 4099u}) {
      for (bool in_stream : {false, true}) {
        DeviceBuffer send(count * 4, 4);
        DeviceBuffer recv(count * 4);
        int reads = 0;
        int writes = 0;
        for (int i = 0; i < kTimes; ++i) {
          reads = stand_in.reads;
          writes = stand_in.writes;
          wrong += sum_once(rank, n, comm, in_stream ? stream.get() : nullptr, send, recv, count);
        }
        if (stand_in.reads != reads + 1 || stand_in.writes != writes + 1)
          wrong +=
              "not by the CPU: " + std::to_string(count) + (in_stream ? " in a stream; " : "; ");
      }
    }
    return wrong;
  });
}

// Chains of work in a stream: what comes before is there when the CPU reads, and what comes after
// sees what it wrote, in place.
TEST_P(GdrCopyRanks, OrderInStreams) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn&) {
    GpuStream stream;
    Chain chain(rank, n, 2000);
    std::string wrong;
    for (int i = 0; i < 5 * kTimes; ++i) {
      chain.enqueue(comm, stream, i % n == rank ? kLong / 10 : 0);
      if (i % 4 != 3) continue;
      stream.synchronize();
      wrong += chain.check();
    }
    return wrong;
  });
}

TEST_P(GdrCopyRanks, AddressesThatAreGivenOutAgain) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) {
    std::string wrong;
    CUdeviceptr before = 0;
    int again = 0;
    for (int i = 0; i < 10; ++i) {
      DeviceBuffer send(4000);
      DeviceBuffer recv(4000);
      again += send.address() == before ? 1 : 0;
      before = send.address();
      for (int k = 0; k < kTimes; ++k) wrong += sum_once(rank, n, comm, nullptr, send, recv, 1000);
    }
    if (again == 0) wrong += "no address was given out again; ";
    // Those of the last buffers, and of what was not seen to be freed yet.
    if (stand_in.mapped > 4) wrong += std::to_string(stand_in.mapped) + " stay mapped; ";
    return wrong;
  });
}

// In turn, so that few are mapped and most are not.
TEST_P(GdrCopyRanks, ManyBuffers) {
  run([n = GetParam()](int rank, hfr_comm_t comm, GdrStandIn& stand_in) -> std::string {
    constexpr size_t kPage = size_t{64} << 10;
    constexpr size_t kNum = 100;
    constexpr size_t kCount = 100;
    const auto input = make_input(HFR_FLOAT32, HFR_SUM, rank, n, kCount);
    DeviceBuffer all(kNum * kPage);
    std::vector<std::byte> host(kNum * kPage);
    for (int round = 0; round < 3; ++round) {
      for (size_t i = 0; i < kNum; ++i) std::copy(input.begin(), input.end(), &host[i * kPage]);
      all.upload(host);
      for (size_t i = 0; i < kNum; ++i) {
        auto* data = static_cast<std::byte*>(all.data()) + i * kPage;
        for (int k = 0; k < (i < 8 ? kTimes : 1); ++k) {
          // What is the same everywhere stays so.
          if (hfr_all_reduce(data, data, kCount, HFR_FLOAT32, k == 0 ? HFR_SUM : HFR_MAX, comm,
                             nullptr, nullptr) != HFR_SUCCESS) {
            return hfr_get_last_error(comm);
          }
        }
      }
      const auto want = make_expected(HFR_FLOAT32, HFR_SUM, n, kCount);
      host = all.download();
      for (size_t i = 0; i < kNum; ++i) {
        if (!std::equal(want.begin(), want.end(), &host[i * kPage])) return "wrong sum";
      }
    }
    if (stand_in.mapped < 8 || stand_in.mapped > 32) return "mapped other than what came often";
    return "";
  });
}

INSTANTIATE_TEST_SUITE_P(Cuda, GdrCopyRanks, testing::Values(2, 4),
                         [](const auto& shape) { return std::to_string(shape.param) + "ranks"; });

// Ranks that are threads, of which some call in a stream; and in the end nothing is mapped, also of
// what hfr_mem_free and the communicator's end gave back.
TEST(CudaGdrCopy, ThreadsLeaveNothingMapped) {
  HFR_NEED_GPU();
  constexpr int kRanks = 3;
  std::barrier together(kRanks);
  run_cluster(gpu_shape({kRanks}), [&](int rank, hfr_comm_t comm) {
    constexpr size_t kCount = 500;
    GdrStandIn* stand_in = GdrStandIn::of(kLibrary);
    ASSERT_NE(stand_in, nullptr);
    GpuStream stream;
    DeviceBuffer send(kCount * 4);
    DeviceBuffer recv(kCount * 4);
    void* allocated = nullptr;
    ASSERT_EQ(hfr_mem_alloc(comm, &allocated, 8 << 20), HFR_SUCCESS) << hfr_get_last_error(comm);
    together.arrive_and_wait();
    for (int i = 0; i < 3 * kTimes; ++i) {
      const bool in_stream = (i + rank) % 3 != 0;
      EXPECT_EQ(
          sum_once(rank, kRanks, comm, in_stream ? stream.get() : nullptr, send, recv, kCount), "");
      EXPECT_EQ(hfr_all_reduce(allocated, allocated, kCount, HFR_FLOAT32, HFR_SUM, comm, nullptr,
                               nullptr),
                HFR_SUCCESS);
    }
    together.arrive_and_wait();
    EXPECT_EQ(stand_in->mapped, 3 * kRanks);
    together.arrive_and_wait();
    EXPECT_EQ(hfr_mem_free(comm, allocated), HFR_SUCCESS) << hfr_get_last_error(comm);
    together.arrive_and_wait();
    EXPECT_EQ(stand_in->mapped, 2 * kRanks);
    together.arrive_and_wait();
  });
  EXPECT_EQ(GdrStandIn::of(kLibrary)->mapped, 0);
  EXPECT_EQ(GdrStandIn::of(kLibrary)->pinned, 0);
}

// A copy that is refused is an error on that rank, which the others are told of.
TEST(CudaGdrCopy, ARefusedCopyIsAnError) {
  HFR_NEED_GPU();
  constexpr int kRanks = 2;
  std::barrier together(kRanks);
  run_cluster(gpu_shape({kRanks}), [&](int rank, hfr_comm_t comm) {
    DeviceBuffer data(400);
    for (int i = 0; i < kTimes; ++i)
      EXPECT_EQ(sum_once(rank, kRanks, comm, nullptr, data, data, 100), "");
    together.arrive_and_wait();
    if (rank == 0) GdrStandIn::of(kLibrary)->refuses_copies = true;
    together.arrive_and_wait();
    EXPECT_NE(
        hfr_all_reduce(data.data(), data.data(), 100, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
        HFR_SUCCESS);
    EXPECT_THAT(hfr_get_last_error(comm), testing::HasSubstr("GDRCopy refused"));
    EXPECT_THAT(hfr_get_last_error(comm), testing::HasSubstr("HFREDUCE_GDRCOPY_BYTES=0"));
  });
  GdrStandIn::of(kLibrary)->refuses_copies = false;
}

// Asked for by a size (HFREDUCE_GDRCOPY_BYTES), and not there. Runs without the stand-in.
TEST(CudaGdrCopyMissing, IsASentence) {
  HFR_NEED_GPU();
  if (dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL) != nullptr)
    GTEST_SKIP() << "GDRCopy's library is here";
  use_gpu();
  hfr_unique_id_t id;
  ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_CUDA;
  hfr_comm_t comm = nullptr;
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, &id, 0, &options), HFR_UNSUPPORTED);
  EXPECT_THAT(
      hfr_get_last_error(nullptr),
      testing::AllOf(testing::HasSubstr("HFREDUCE_GDRCOPY_BYTES"), testing::HasSubstr(kLibrary)));
}

}  // namespace
}  // namespace hfr_tests
