// Bad input of every kind: a status and a sentence, on every rank, never a crash or a hang.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cluster.hpp"
#include "hfreduce/hfreduce.hpp"

namespace hfr_tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string last_error(hfr_comm_t comm) { return hfr_get_last_error(comm); }

TEST(BadInput, ArgumentsOfAllReduce) {
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  std::vector<float> data(16, 1.0f);
  auto* bytes = reinterpret_cast<char*>(data.data());
  auto call = [&](const void* send, void* recv, size_t count, int dtype, int op) {
    return hfr_all_reduce(send, recv, count, static_cast<hfr_dtype_t>(dtype),
                          static_cast<hfr_op_t>(op), comm, nullptr, nullptr);
  };
  EXPECT_EQ(call(nullptr, bytes, 4, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("sendbuf is NULL"));
  EXPECT_EQ(call(bytes, nullptr, 4, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("recvbuf is NULL"));
  EXPECT_EQ(call(bytes + 1, bytes + 1, 4, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("not aligned"));
  EXPECT_EQ(call(bytes, bytes + 4, 4, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("overlap"));
  EXPECT_EQ(call(bytes, bytes, SIZE_MAX, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("more than memory"));
  EXPECT_EQ(call(bytes, bytes, SIZE_MAX / 4, HFR_FLOAT32, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(call(bytes, bytes, 4, 99, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("dtype 99"));
  EXPECT_EQ(call(bytes, bytes, 4, -1, HFR_SUM), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(call(bytes, bytes, 4, HFR_FLOAT32, 77), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(comm), HasSubstr("op 77"));
  // None of them hurt the communicator.
  EXPECT_EQ(call(bytes, bytes, 4, HFR_FLOAT32, HFR_SUM), HFR_SUCCESS);
  EXPECT_EQ(data[0], 1.0f);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(BadInput, NullAndForeignHandles) {
  float x = 0;
  int value = 0;
  hfr_status_t status = HFR_SUCCESS;
  EXPECT_EQ(hfr_all_reduce(&x, &x, 1, HFR_FLOAT32, HFR_SUM, nullptr, nullptr, nullptr),
            HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(nullptr), HasSubstr("not a communicator"));
  EXPECT_EQ(hfr_wait(nullptr, 0), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_test(nullptr, 0, &value), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_count(nullptr, &value), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_abort(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_finalize(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_get_async_error(nullptr, &status), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_destroy(nullptr), HFR_SUCCESS);
  EXPECT_EQ(hfr_get_unique_id(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_get_version(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_stream_create(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_stream_enqueue(nullptr, nullptr, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_stream_synchronize(nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_stream_destroy(nullptr), HFR_SUCCESS);
  EXPECT_STREQ(hfr_status_string(static_cast<hfr_status_t>(1234)), "unknown status");
  EXPECT_EQ(hfr_dtype_size(static_cast<hfr_dtype_t>(1234)), 0u);
}

TEST(BadInput, InitArguments) {
  hfr_comm_t comm = nullptr;
  hfr_unique_id_t id{};
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, &id, 0, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(comm, nullptr);
  ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS);
  EXPECT_EQ(hfr_comm_init_rank(nullptr, 1, &id, 0, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, nullptr, 0, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_init_rank(&comm, 0, &id, 0, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_init_rank(&comm, 2, &id, 2, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(nullptr), HasSubstr("from 0 to 1"));
  EXPECT_EQ(hfr_comm_init_rank(&comm, 2, &id, -1, nullptr), HFR_INVALID_ARGUMENT);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.size = 1;
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, &id, 0, &options), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(nullptr), HasSubstr("HFR_COMM_OPTIONS_INIT"));
  options.size = offsetof(hfr_comm_options_t, host_id) + 1;
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, &id, 0, &options), HFR_INVALID_ARGUMENT);
  options.size = sizeof(options);
  options.chunk_bytes = 4097;
  EXPECT_EQ(hfr_comm_init_rank(&comm, 1, &id, 0, &options), HFR_INVALID_ARGUMENT);
  EXPECT_THAT(last_error(nullptr), HasSubstr("4096"));
  EXPECT_EQ(hfr_comm_init_all(nullptr, 1, nullptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_init_all(&comm, 0, nullptr), HFR_INVALID_ARGUMENT);
}

TEST(BadInput, EnvironmentNamesVariableValueAndWhatIsAllowed) {
  hfr_comm_t comm = nullptr;
  setenv("HFREDUCE_WINDOW", "many", 1);
  EXPECT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_INVALID_ARGUMENT);
  unsetenv("HFREDUCE_WINDOW");
  EXPECT_THAT(last_error(nullptr),
              AllOf(HasSubstr("HFREDUCE_WINDOW=many"), HasSubstr("from 1 to 64")));
}

TEST(BadInput, OlderOptionStructIsAccepted) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.size = offsetof(hfr_comm_options_t, chunk_bytes);
  options.chunk_bytes = 4097;  // past what the caller says it knows
  hfr_comm_t comm = nullptr;
  EXPECT_EQ(hfr_comm_init_all(&comm, 1, &options), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

// The struct grew: what was padding then is not taken for a field now.
TEST(BadInput, PaddingOfAnOlderCallerIsNotRead) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  const size_t end = offsetof(hfr_comm_options_t, device) + sizeof(options.device);
  options.size = (end + alignof(hfr_comm_options_t) - 1) / alignof(hfr_comm_options_t) *
                 alignof(hfr_comm_options_t);
  std::memset(reinterpret_cast<char*>(&options) + end, 0xff, sizeof(options) - end);
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, &options), HFR_SUCCESS) << hfr_get_last_error(nullptr);
  hfr_comm_destroy(comm);
}

struct Started {
  size_t count;
  hfr_dtype_t dtype;
  hfr_op_t op;
};

// Rank 1 starts something else; every rank must get HFR_MISMATCH with both sides named.
void expect_mismatch(const std::vector<int>& nodes, Started common, Started odd,
                     const std::string& text) {
  ClusterShape shape;
  shape.ranks_per_node = nodes;
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    Started mine = rank == 1 ? odd : common;
    std::vector<double> data(1 << 18);
    hfr_status_t status = hfr_all_reduce(data.data(), data.data(), mine.count, mine.dtype, mine.op,
                                         comm, nullptr, nullptr);
    EXPECT_EQ(status, HFR_MISMATCH) << "rank " << rank << ": " << hfr_get_last_error(comm);
    EXPECT_THAT(last_error(comm), AllOf(HasSubstr("rank 1"), HasSubstr(text))) << "rank " << rank;
    // Sticky.
    EXPECT_EQ(
        hfr_all_reduce(data.data(), data.data(), 1, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
        HFR_MISMATCH);
  });
}

TEST(BadInput, MismatchedCountsTypesAndOperations) {
  const Started small{100, HFR_FLOAT32, HFR_SUM};
  const Started large{100'000, HFR_FLOAT32, HFR_SUM};
  for (const std::vector<int>& nodes :
       {std::vector<int>{3}, std::vector<int>{1, 1}, std::vector<int>{2, 2}}) {
    expect_mismatch(nodes, small, {101, HFR_FLOAT32, HFR_SUM}, "101");
    expect_mismatch(nodes, small, {100'000, HFR_FLOAT32, HFR_SUM}, "100000");
    expect_mismatch(nodes, large, {100, HFR_FLOAT32, HFR_SUM}, "100000");
    expect_mismatch(nodes, large, {100'000, HFR_INT32, HFR_SUM}, "int32");
    expect_mismatch(nodes, large, {100'000, HFR_FLOAT32, HFR_MAX}, "max");
    expect_mismatch(nodes, small, {0, HFR_FLOAT32, HFR_SUM}, "100");
  }
}

TEST(BadInput, CallsAfterAbortAndFinalize) {
  ClusterShape shape;
  shape.ranks_per_node = {2, 1};
  run_cluster(shape, [](int rank, hfr_comm_t comm) {
    std::vector<float> data(100'000, 1.0f);
    hfr_status_t status = hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32,
                                         HFR_SUM, comm, nullptr, nullptr);
    if (rank == 2) {
      ASSERT_EQ(status, HFR_SUCCESS);
      ASSERT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
    }
    // On the others the abort may come before the first operation, in it, or after it.
    status = hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                            nullptr, nullptr);
    EXPECT_EQ(status, HFR_ABORTED) << hfr_get_last_error(comm);
    EXPECT_THAT(last_error(comm), HasSubstr("rank 2"));
    EXPECT_EQ(hfr_comm_finalize(comm), HFR_ABORTED);
  });
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS);
  ASSERT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS);
  float x = 1;
  EXPECT_EQ(hfr_all_reduce(&x, &x, 1, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
            HFR_INVALID_USAGE);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

// The stream's call has no communicator, which has failed all the same, and says why.
TEST(BadInput, AbortWhileAnOperationIsInAStream) {
  ClusterShape shape;
  shape.ranks_per_node = {2};
  run_cluster(shape, [](int rank, hfr_comm_t comm) {
    if (rank == 1) {
      ASSERT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
      return;
    }
    std::vector<float> data(1'000, 1.0f);
    // An earlier sentence, which is not the last one any more.
    EXPECT_NE(hfr_mem_free(comm, data.data()), HFR_SUCCESS);
    hfr_stream_t stream = nullptr;
    ASSERT_EQ(hfr_stream_create(&stream), HFR_SUCCESS);
    hfr_status_t status = hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32,
                                         HFR_SUM, comm, stream, nullptr);
    if (status == HFR_SUCCESS) status = hfr_stream_synchronize(stream);
    EXPECT_EQ(status, HFR_ABORTED);
    EXPECT_THAT(last_error(comm), HasSubstr("rank 1"));
    EXPECT_EQ(hfr_stream_destroy(stream), HFR_SUCCESS);
  });
}

TEST(BadInput, MemoryCalls) {
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS);
  void* ptr = nullptr;
  EXPECT_EQ(hfr_mem_alloc(comm, nullptr, 10), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_mem_alloc(comm, &ptr, SIZE_MAX), HFR_OUT_OF_MEMORY);
  EXPECT_THAT(last_error(comm), HasSubstr("HFREDUCE_HEAP_BYTES"));
  int local = 0;
  EXPECT_EQ(hfr_mem_free(comm, &local), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_mem_free(comm, nullptr), HFR_SUCCESS);
  ASSERT_EQ(hfr_mem_alloc(comm, &ptr, 10), HFR_SUCCESS);
  EXPECT_EQ(hfr_mem_free(comm, ptr), HFR_SUCCESS);
  EXPECT_EQ(hfr_mem_free(comm, ptr), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(NonBlocking, InitReportsProgressThenSuccess) {
  hfr_unique_id_t id;
  ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.non_blocking = 1;
  hfr_comm_t comms[2] = {nullptr, nullptr};
  ASSERT_EQ(hfr_comm_init_rank(&comms[0], 2, &id, 0, &options), HFR_IN_PROGRESS);
  int count = 0;
  EXPECT_EQ(hfr_comm_count(comms[0], &count), HFR_INVALID_USAGE);
  hfr_status_t status = HFR_SUCCESS;
  ASSERT_EQ(hfr_comm_get_async_error(comms[0], &status), HFR_SUCCESS);
  EXPECT_EQ(status, HFR_IN_PROGRESS);
  ASSERT_EQ(hfr_comm_init_rank(&comms[1], 2, &id, 1, &options), HFR_IN_PROGRESS);
  for (hfr_comm_t comm : comms) {
    do {
      ASSERT_EQ(hfr_comm_get_async_error(comm, &status), HFR_SUCCESS);
      std::this_thread::yield();
    } while (status == HFR_IN_PROGRESS);
    ASSERT_EQ(status, HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(hfr_comm_count(comm, &count), HFR_SUCCESS);
    EXPECT_EQ(count, 2);
  }
  for (hfr_comm_t comm : comms) EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(NonBlocking, InitInCpp) {
  const hfr_unique_id_t id = hfreduce::make_unique_id();
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.non_blocking = 1;
  hfreduce::Communicator first(2, id, 0, &options);
  EXPECT_EQ(first.async_error(), HFR_IN_PROGRESS);
  hfreduce::Communicator second(2, id, 1, &options);
  for (const hfreduce::Communicator* comm : {&first, &second}) {
    while (comm->async_error() == HFR_IN_PROGRESS) std::this_thread::yield();
    EXPECT_EQ(comm->async_error(), HFR_SUCCESS);
    EXPECT_EQ(comm->size(), 2);
  }
}

TEST(NonBlocking, InitThatNobodyJoinsCanBeGivenUp) {
  for (bool abort_first : {false, true}) {
    hfr_unique_id_t id;
    ASSERT_EQ(hfr_get_unique_id(&id), HFR_SUCCESS);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.non_blocking = 1;
    hfr_comm_t comm = nullptr;
    ASSERT_EQ(hfr_comm_init_rank(&comm, 2, &id, 0, &options), HFR_IN_PROGRESS);
    if (abort_first) {
      EXPECT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
    }
    EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
  }
}

}  // namespace
}  // namespace hfr_tests
