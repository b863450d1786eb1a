// Small messages of ranks that are threads through GDRCopy; what is refused, and what is missing.
#include "cuda_gdrcopy.hpp"

#include <gmock/gmock.h>

#include <barrier>

#include "gpu_cluster.hpp"

namespace hfr_tests {
namespace {

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
