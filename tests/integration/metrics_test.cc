// What communicators say of themselves: by the call, and at the endpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <barrier>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cluster.hpp"
#include "hfreduce/hfreduce.hpp"

namespace hfr_tests {
namespace {

using testing::HasSubstr;
using testing::Not;

hfr_comm_metrics_t metrics_of(hfr_comm_t comm) {
  hfr_comm_metrics_t metrics = HFR_COMM_METRICS_INIT;
  EXPECT_EQ(hfr_comm_get_metrics(comm, &metrics), HFR_SUCCESS) << hfr_get_last_error(comm);
  return metrics;
}

void reduce(hfr_comm_t comm, size_t bytes, int times = 1) {
  std::vector<float> data(bytes / sizeof(float), 1.0f);
  for (int i = 0; i < times; ++i) {
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                             nullptr, nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(comm);
  }
}

uint64_t in_buckets(const hfr_stage_metrics_t& stage) {
  uint64_t sum = 0;
  for (uint64_t bucket : stage.buckets) sum += bucket;
  return sum;
}

TEST(Metrics, CountsOperationsAndTheirPaths) {
  run_cluster({.ranks_per_node = {2}}, [](int, hfr_comm_t comm) {
    EXPECT_EQ(metrics_of(comm).operations_started, 0u);
    reduce(comm, 8, 100);
    reduce(comm, size_t{1} << 20, 3);
    const hfr_comm_metrics_t metrics = metrics_of(comm);
    EXPECT_EQ(metrics.operations_started, 103u);
    EXPECT_EQ(metrics.operation.count, 103u);
    EXPECT_EQ(metrics.operation.bytes, 100u * 8 + (size_t{3} << 20));
    EXPECT_EQ(metrics.operation.timed, 3u);
    EXPECT_GT(metrics.operation.time_ns, 0u);
    EXPECT_EQ(in_buckets(metrics.operation), 3u);
    EXPECT_EQ(metrics.operations_flat, 100u);
    EXPECT_EQ(metrics.operations_direct, 3u);  // threads reach each other's buffers
    EXPECT_EQ(metrics.operations_lanes, 0u);
    EXPECT_EQ(metrics.direct_add.bytes, size_t{3} << 19);  // half of each
    EXPECT_EQ(metrics.add.count, 0u);
    EXPECT_EQ(metrics.failure, HFR_SUCCESS);
  });
}

TEST(Metrics, CountsStagesBetweenNodes) {
  constexpr size_t kChunk = size_t{64} << 10, kChunks = 16;
  std::barrier all_looked(4);
  run_cluster({.ranks_per_node = {2, 2}, .chunk_bytes = kChunk}, [&](int, hfr_comm_t comm) {
    reduce(comm, kChunk * kChunks);
    hfr_comm_metrics_t metrics = metrics_of(comm);
    all_looked.arrive_and_wait();  // else the next operation's messages may be there already
    EXPECT_EQ(metrics.operations_lanes, 1u);
    // Lanes take turns between the two owners of a node, and sums between the two nodes.
    EXPECT_GE(metrics.add.count, kChunks / 2);
    EXPECT_GT(metrics.send.bytes, 0u);
    EXPECT_EQ(metrics.send.bytes, metrics.receive.bytes);  // a sum one way, the result the other
    EXPECT_EQ(metrics.send.bytes, kChunk * kChunks / 2);
    EXPECT_EQ(metrics.send.count, metrics.send.timed);
    EXPECT_EQ(metrics.add.count, metrics.add.timed);
    EXPECT_EQ(metrics.receive.timed, 0u);
    // The other owner's chunks come out of staging, and those of the own lanes that the other node
    // finished; threads read inputs where they are, without copies in.
    EXPECT_GE(metrics.copy_out.bytes, kChunk * kChunks / 2);
    EXPECT_EQ(metrics.copy_in.count, 0u);
    EXPECT_EQ(metrics.copy_out.count, metrics.copy_out.timed);
    for (const hfr_stage_metrics_t* stage :
         {&metrics.copy_in, &metrics.copy_out, &metrics.add, &metrics.send, &metrics.wait_input,
          &metrics.wait_slot, &metrics.wait_partial_sum, &metrics.wait_final_value}) {
      EXPECT_EQ(in_buckets(*stage), stage->timed);
      EXPECT_LE(stage->timed, stage->count);
    }
    // Small chunks are counted and not timed.
    const uint64_t timed = metrics.add.timed;
    reduce(comm, 4096);
    metrics = metrics_of(comm);
    EXPECT_EQ(metrics.add.timed, timed);
    EXPECT_EQ(metrics.operation.timed, 1u);
  });
}

TEST(Metrics, SayThatACommunicatorFailed) {
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS);
  ASSERT_EQ(hfr_comm_abort(comm), HFR_SUCCESS);
  EXPECT_EQ(metrics_of(comm).failure, HFR_ABORTED);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(Metrics, WritesNoMoreThanTheCallerKnows) {
  hfr_comm_t comm = nullptr;
  ASSERT_EQ(hfr_comm_init_all(&comm, 1, nullptr), HFR_SUCCESS);
  reduce(comm, 8);
  struct {
    hfr_comm_metrics_t metrics;
    char more[64];
  } longer;
  std::memset(static_cast<void*>(&longer), 0x5a, sizeof(longer));
  longer.metrics.size = sizeof(longer);
  ASSERT_EQ(hfr_comm_get_metrics(comm, &longer.metrics), HFR_SUCCESS);
  EXPECT_EQ(longer.metrics.size, sizeof(longer));
  EXPECT_EQ(longer.metrics.operations_started, 1u);
  for (char c : longer.more) EXPECT_EQ(c, 0x5a);
  for (size_t bad : {size_t{0}, size_t{8}, sizeof(hfr_comm_metrics_t) - 1, size_t{1} << 20}) {
    hfr_comm_metrics_t metrics = HFR_COMM_METRICS_INIT;
    metrics.size = bad;
    EXPECT_EQ(hfr_comm_get_metrics(comm, &metrics), HFR_INVALID_ARGUMENT) << bad;
    EXPECT_THAT(hfr_get_last_error(comm), HasSubstr("HFR_COMM_METRICS_INIT"));
    EXPECT_EQ(metrics.operations_started, 0u);
  }
  EXPECT_EQ(hfr_comm_get_metrics(comm, nullptr), HFR_INVALID_ARGUMENT);
  hfr_comm_metrics_t metrics = HFR_COMM_METRICS_INIT;
  EXPECT_EQ(hfr_comm_get_metrics(nullptr, &metrics), HFR_INVALID_ARGUMENT);
  EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(Metrics, FromCpp) {
  auto comms = hfreduce::Communicator::all(1);
  std::vector<double> data(3, 2.0);
  comms[0].all_reduce(data);
  EXPECT_EQ(comms[0].metrics().operation.count, 1u);
  EXPECT_EQ(comms[0].metrics().operation.bytes, 24u);
}

class EndpointFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "hfreduce_metrics_" + std::to_string(getpid()) + ".sock";
    setenv("HFREDUCE_METRICS", ("unix:" + path_).c_str(), 1);
  }
  void TearDown() override { unsetenv("HFREDUCE_METRICS"); }

  bool exists() const { return access(path_.c_str(), F_OK) == 0; }
  std::string page() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    std::string text;
    char bytes[4096];
    for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;) text.append(bytes, n);
    close(fd);
    return text;
  }

  std::string path_;
};

TEST_F(EndpointFile, ShowsEveryCommunicatorOfTheProcess) {
  run_cluster({.ranks_per_node = {1, 1}}, [&](int rank, hfr_comm_t comm) {
    reduce(comm, 4000, 5);
    hfr_comm_t child = nullptr;
    ASSERT_EQ(hfr_comm_split(comm, rank, 0, &child), HFR_SUCCESS) << hfr_get_last_error(comm);
    reduce(child, 80, 2);
    reduce(comm, 8);  // all have made theirs
    const std::string text = page();
    // Two ranks as threads, and a child of each, which is rank 0 of its own.
    for (const char* part : {"rank=\"1\",node=\"1\",comm=\"", "comm=\"0\"", "comm=\"3\"",
                             "hfreduce_operation_bytes_total{rank=\"0\",node=\"0\""}) {
      EXPECT_THAT(text, HasSubstr(part));
    }
    EXPECT_THAT(text, HasSubstr("} 160\n"));
    reduce(comm, 8);  // all have looked
    EXPECT_EQ(hfr_comm_destroy(child), HFR_SUCCESS);
  });
  EXPECT_FALSE(exists()) << "it goes with the last communicator";
}

TEST_F(EndpointFile, IsThereOnlyWhenAskedFor) {
  unsetenv("HFREDUCE_METRICS");
  run_cluster({.ranks_per_node = {1}}, [&](int, hfr_comm_t) { EXPECT_FALSE(exists()); });
}

TEST_F(EndpointFile, AJobGoesOnWithoutIt) {
  setenv("HFREDUCE_METRICS", "unix:/nowhere/at/all", 1);
  setenv("HFREDUCE_LOG_LEVEL", "off", 1);
  run_cluster({.ranks_per_node = {2}}, [](int, hfr_comm_t comm) { reduce(comm, 8); });
  unsetenv("HFREDUCE_LOG_LEVEL");
}

}  // namespace
}  // namespace hfr_tests
