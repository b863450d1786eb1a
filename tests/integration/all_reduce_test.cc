// All-reduce on threads: shapes, types, operations, sizes around chunk and vector edges, in and out
// of place.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cluster.hpp"
#include "values.hpp"

namespace hfr_tests {
namespace {

struct Buffers {
  std::vector<std::byte> in;
  std::vector<std::byte> out;
};

// One operation and its check; `in_place` decides where the result goes.
void check_one(hfr_comm_t comm, int rank, int num_ranks, hfr_dtype_t dtype, hfr_op_t op,
               size_t count, bool in_place) {
  std::vector<std::byte> in = make_input(dtype, op, rank, num_ranks, count);
  std::vector<std::byte> out(in.size());
  void* recv = in_place ? in.data() : out.data();
  ASSERT_EQ(hfr_all_reduce(in.data(), recv, count, dtype, op, comm, nullptr, nullptr), HFR_SUCCESS)
      << hfr_get_last_error(comm);
  std::vector<std::byte> want = make_expected(dtype, op, num_ranks, count);
  const auto* got = static_cast<const std::byte*>(recv);
  auto wrong = std::mismatch(want.begin(), want.end(), got);
  EXPECT_TRUE(wrong.first == want.end())
      << "dtype " << dtype << " op " << op << " count " << count << " in place " << in_place
      << " rank " << rank << " first wrong byte " << (wrong.first - want.begin());
}

class Shapes : public testing::TestWithParam<std::vector<int>> {};

TEST_P(Shapes, EveryTypeAndOperation) {
  ClusterShape shape;
  shape.ranks_per_node = GetParam();
  shape.chunk_bytes = 4096;
  const int n = shape.num_ranks();
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    for (int dtype = 0; dtype < HFR_NUM_DTYPES; ++dtype) {
      for (int op = 0; op < HFR_NUM_OPS; ++op) {
        auto d = static_cast<hfr_dtype_t>(dtype);
        auto o = static_cast<hfr_op_t>(op);
        if (o == HFR_AVG && !average_is_exact(d, n)) continue;
        check_one(comm, rank, n, d, o, 1031, (dtype + op) % 2 == 0);
      }
    }
  });
}

TEST_P(Shapes, SizesAroundEdges) {
  ClusterShape shape;
  shape.ranks_per_node = GetParam();
  shape.chunk_bytes = 8192;
  const int n = shape.num_ranks();
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    for (size_t bytes :
         {4,    8,    60,   64,    68,    252,   256,   1020,  4092,  4096,   4100,
          8188, 8192, 8196, 16384, 24572, 32768, 65532, 65536, 65540, 131072, 300004}) {
      check_one(comm, rank, n, HFR_FLOAT32, HFR_SUM, bytes / 4, false);
      check_one(comm, rank, n, HFR_FLOAT32, HFR_SUM, bytes / 4, true);
    }
    for (size_t count : {1, 3, 63, 65, 4095, 8193, 70001}) {
      check_one(comm, rank, n, HFR_UINT8, HFR_SUM, count, false);
    }
    EXPECT_EQ(hfr_all_reduce(nullptr, nullptr, 0, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
              HFR_SUCCESS)
        << hfr_get_last_error(comm);
  });
}

std::vector<std::vector<int>> shapes() {
  std::vector<std::vector<int>> list;
  for (int nodes : {1, 2, 3, 4, 5, 7, 8, 9, 16, 17}) {
    for (int ranks : {1, 2, 3, 8}) {
      if (nodes * ranks > 36 && !(nodes == 17 && ranks == 8)) continue;
      list.push_back(std::vector<int>(static_cast<size_t>(nodes), ranks));
    }
  }
  list.push_back({20});       // more local ranks than a kernel takes sources
  list.push_back({1, 3, 2});  // nodes of different sizes
  list.push_back({4, 1, 1, 2});
  return list;
}

std::string shape_name(const testing::TestParamInfo<std::vector<int>>& info) {
  const std::vector<int>& nodes = info.param;
  bool even = std::all_of(nodes.begin(), nodes.end(), [&](int ranks) { return ranks == nodes[0]; });
  if (even) return std::to_string(nodes.size()) + "x" + std::to_string(nodes[0]);
  std::string name = "uneven";
  for (int ranks : nodes) name += "_" + std::to_string(ranks);
  return name;
}

INSTANTIATE_TEST_SUITE_P(Threads, Shapes, testing::ValuesIn(shapes()), shape_name);

class Windows : public testing::TestWithParam<int> {};

TEST_P(Windows, RandomTrains) {
  for (std::vector<int> nodes : {std::vector<int>{3}, std::vector<int>{2, 2},
                                 std::vector<int>{1, 1, 1}, std::vector<int>{2, 2, 2, 2}}) {
    ClusterShape shape;
    shape.ranks_per_node = nodes;
    shape.window = static_cast<uint32_t>(GetParam());
    shape.chunk_bytes = 4096;
    const int n = shape.num_ranks();
    run_cluster(shape, [&](int rank, hfr_comm_t comm) {
      std::mt19937 random(static_cast<unsigned>(GetParam()) * 31u + static_cast<unsigned>(n));
      for (int round = 0; round < 6; ++round) {
        struct Started {
          hfr_request_t request;
          Buffers buffers;
          hfr_dtype_t dtype;
          hfr_op_t op;
          size_t count;
          bool in_place;
          void* shared;
        };
        std::vector<Started> train;
        for (int i = 0; i < 20; ++i) {
          Started s;
          s.dtype = static_cast<hfr_dtype_t>(random() % HFR_NUM_DTYPES);
          s.op = static_cast<hfr_op_t>(random() % HFR_NUM_OPS);
          if (s.op == HFR_AVG && !average_is_exact(s.dtype, n)) s.op = HFR_SUM;
          s.count = random() % 3 == 0 ? random() % 40'000 : random() % 700;
          s.in_place = random() % 2 == 0;
          bool shared = random() % 3 == 0;
          s.shared = nullptr;
          s.buffers.in = make_input(s.dtype, s.op, rank, n, s.count);
          s.buffers.out.resize(s.buffers.in.size());
          if (shared) {
            ASSERT_EQ(hfr_mem_alloc(comm, &s.shared, s.buffers.in.size()), HFR_SUCCESS)
                << hfr_get_last_error(comm);
          }
          train.push_back(std::move(s));
        }
        for (Started& s : train) {
          std::byte* in = s.buffers.in.data();
          std::byte* out = s.in_place ? in : s.buffers.out.data();
          if (s.shared != nullptr) {
            std::memcpy(s.shared, in, s.buffers.in.size());
            in = static_cast<std::byte*>(s.shared);
            if (s.in_place) out = in;
          }
          ASSERT_EQ(hfr_all_reduce(in, out, s.count, s.dtype, s.op, comm, nullptr, &s.request),
                    HFR_SUCCESS)
              << hfr_get_last_error(comm);
        }
        for (Started& s : train) {
          ASSERT_EQ(hfr_wait(comm, s.request), HFR_SUCCESS) << hfr_get_last_error(comm);
          const void* got = !s.in_place           ? s.buffers.out.data()
                            : s.shared != nullptr ? s.shared
                                                  : s.buffers.in.data();
          std::vector<std::byte> want = make_expected(s.dtype, s.op, n, s.count);
          EXPECT_TRUE(want.empty() || std::memcmp(want.data(), got, want.size()) == 0)
              << "window " << GetParam() << " ranks " << n << " dtype " << s.dtype << " op " << s.op
              << " count " << s.count;
          EXPECT_EQ(hfr_mem_free(comm, s.shared), HFR_SUCCESS);
        }
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, Windows, testing::Values(2, 4, 8));

TEST(AllReduce, SameBitsOnEveryRankAndEveryRun) {
  // Random floats: the order of adding shows in the last bits.
  std::vector<float> first;
  for (int run = 0; run < 3; ++run) {
    ClusterShape shape;
    shape.ranks_per_node = {2, 2, 2};
    std::vector<std::vector<float>> results(6);
    run_cluster(shape, [&](int rank, hfr_comm_t comm) {
      std::mt19937 random(static_cast<unsigned>(rank) + 1);
      std::uniform_real_distribution<float> uniform(-1, 1);
      std::vector<float> data(100'000);
      for (float& x : data) x = uniform(random);
      ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                               nullptr, nullptr),
                HFR_SUCCESS);
      results[static_cast<size_t>(rank)] = data;
    });
    for (const auto& result : results) EXPECT_EQ(result, results[0]);
    if (run == 0) first = results[0];
    EXPECT_EQ(results[0], first);
  }
}

TEST(AllReduce, CloseToDoublePrecision) {
  ClusterShape shape;
  shape.ranks_per_node = {3, 3};
  const size_t count = 50'000;
  std::vector<double> exact(count);
  std::vector<std::vector<float>> inputs(6, std::vector<float>(count));
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (auto& input : inputs) {
    for (size_t i = 0; i < count; ++i) exact[i] += static_cast<double>(input[i] = uniform(random));
  }
  run_cluster(shape, [&](int rank, hfr_comm_t comm) {
    std::vector<float> out(count);
    ASSERT_EQ(hfr_all_reduce(inputs[static_cast<size_t>(rank)].data(), out.data(), count,
                             HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
              HFR_SUCCESS);
    for (size_t i = 0; i < count; ++i) ASSERT_NEAR(out[i], exact[i], 6 * 6.0e-8 * 6) << i;
  });
}

TEST(AllReduce, StreamsKeepOrder) {
  ClusterShape shape;
  shape.ranks_per_node = {2, 1};
  run_cluster(shape, [](int rank, hfr_comm_t comm) {
    hfr_stream_t stream = nullptr;
    ASSERT_EQ(hfr_stream_create(&stream), HFR_SUCCESS);
    std::vector<int> data(20'000, 0);
    struct Fill {
      std::vector<int>* data;
      int value;
    } fill{&data, rank + 1};
    auto work = [](void* argument) {
      auto* f = static_cast<Fill*>(argument);
      for (int& x : *f->data) x += f->value;
    };
    // data = rank + 1; sum = 6; plus rank + 1; sum = 18 + 6 = 24.
    ASSERT_EQ(hfr_stream_enqueue(stream, work, &fill), HFR_SUCCESS);
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_INT32, HFR_SUM, comm,
                             stream, nullptr),
              HFR_SUCCESS);
    ASSERT_EQ(hfr_stream_enqueue(stream, work, &fill), HFR_SUCCESS);
    hfr_request_t request = 0;
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_INT32, HFR_SUM, comm,
                             stream, &request),
              HFR_SUCCESS);
    ASSERT_EQ(hfr_wait(comm, request), HFR_SUCCESS);
    ASSERT_EQ(hfr_stream_synchronize(stream), HFR_SUCCESS);
    EXPECT_EQ(data, std::vector<int>(20'000, 24));
    EXPECT_EQ(hfr_stream_destroy(stream), HFR_SUCCESS);
  });
}

TEST(AllReduce, TestMakesProgress) {
  ClusterShape shape;
  shape.ranks_per_node = {2, 2};
  run_cluster(shape, [](int, hfr_comm_t comm) {
    std::vector<float> data(300'000, 1.0f);
    hfr_request_t request = 0;
    ASSERT_EQ(hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm,
                             nullptr, &request),
              HFR_SUCCESS);
    int done = 0;
    while (done == 0) ASSERT_EQ(hfr_test(comm, request, &done), HFR_SUCCESS);
    EXPECT_EQ(data, std::vector<float>(300'000, 4.0f));
  });
}

TEST(AllReduce, SeveralThreadsOfARankMayWait) {
  ClusterShape shape;
  shape.ranks_per_node = {2, 1};
  run_cluster(shape, [](int, hfr_comm_t comm) {
    std::vector<std::vector<int>> data(8, std::vector<int>(10'000, 1));
    std::vector<hfr_request_t> requests(data.size());
    for (size_t i = 0; i < data.size(); ++i) {
      ASSERT_EQ(hfr_all_reduce(data[i].data(), data[i].data(), data[i].size(), HFR_INT32, HFR_SUM,
                               comm, nullptr, &requests[i]),
                HFR_SUCCESS);
    }
    std::vector<std::thread> waiters;
    for (size_t i = 0; i < data.size(); ++i) {
      waiters.emplace_back([&, i] { EXPECT_EQ(hfr_wait(comm, requests[i]), HFR_SUCCESS); });
    }
    for (std::thread& waiter : waiters) waiter.join();
    for (const auto& d : data) EXPECT_EQ(d, std::vector<int>(10'000, 3));
  });
}

TEST(AllReduce, InitAllFromOneThread) {
  std::vector<hfr_comm_t> comms(4);
  ASSERT_EQ(hfr_comm_init_all(comms.data(), 4, nullptr), HFR_SUCCESS)
      << hfr_get_last_error(nullptr);
  std::vector<std::vector<float>> data(4, std::vector<float>(50'000, 2.0f));
  std::vector<hfr_request_t> requests(4);
  for (size_t r = 0; r < 4; ++r) {
    ASSERT_EQ(hfr_all_reduce(data[r].data(), data[r].data(), data[r].size(), HFR_FLOAT32, HFR_SUM,
                             comms[r], nullptr, &requests[r]),
              HFR_SUCCESS);
  }
  for (size_t r = 0; r < 4; ++r) EXPECT_EQ(hfr_wait(comms[r], requests[r]), HFR_SUCCESS);
  for (const auto& d : data) EXPECT_EQ(d, std::vector<float>(50'000, 8.0f));
  for (hfr_comm_t comm : comms) EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
}

TEST(AllReduce, MoreSubmittedThanTheQueueHolds) {
  ClusterShape shape;
  shape.ranks_per_node = {1, 1};
  run_cluster(shape, [](int, hfr_comm_t comm) {
    std::vector<int> data(1000, 1);
    hfr_request_t last = 0;
    for (int i = 0; i < 1000; ++i) {
      ASSERT_EQ(hfr_all_reduce(&data[static_cast<size_t>(i)], &data[static_cast<size_t>(i)], 1,
                               HFR_INT32, HFR_SUM, comm, nullptr, &last),
                HFR_SUCCESS);
    }
    ASSERT_EQ(hfr_wait(comm, last), HFR_SUCCESS);
    EXPECT_EQ(data, std::vector<int>(1000, 2));
  });
}

}  // namespace
}  // namespace hfr_tests
