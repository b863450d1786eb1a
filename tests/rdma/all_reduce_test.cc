// All-reduce between 2 to 5 nodes over RDMA devices: every type and operation, sizes around the
// edges of chunks, private and library memory, and the proof that the devices carried it.
#include <algorithm>

#include "../integration/values.hpp"
#include "allocations.hpp"
#include "nodes.hpp"

namespace hfr_tests {
namespace {

constexpr size_t kChunkBytes = 4096;

struct Call {
  hfr_dtype_t dtype;
  hfr_op_t op;
  size_t count;
  bool in_place;
  bool library_memory;
};

std::vector<Call> calls(int num_nodes) {
  std::vector<Call> list;
  for (int d = 0; d < HFR_NUM_DTYPES; ++d) {
    for (int o = 0; o < HFR_NUM_OPS; ++o) {
      const auto dtype = static_cast<hfr_dtype_t>(d);
      const auto op = static_cast<hfr_op_t>(o);
      if (op == HFR_AVG && !average_is_exact(dtype, num_nodes)) continue;
      list.push_back({dtype, op, 1031, (d + o) % 2 == 0, (d + o) % 3 == 0});
    }
  }
  for (size_t count : {1, 15, 64, 1023, 1024, 1025, 2048, 16385, 60001}) {
    list.push_back({HFR_FLOAT32, HFR_SUM, count, count % 2 == 0, false});
    list.push_back({HFR_FLOAT32, HFR_SUM, count, count % 2 == 1, true});
  }
  return list;
}

void check_call(const Member& me, const Call& call) {
  const std::vector<std::byte> in =
      make_input(call.dtype, call.op, me.node, me.num_nodes, call.count);
  std::vector<std::byte> own_in = in, own_out(in.size());
  void *send = own_in.data(), *recv = own_out.data();
  void* shared = nullptr;
  if (call.library_memory) {
    ASSERT_EQ(hfr_mem_alloc(me.comm, &shared, 2 * in.size()), HFR_SUCCESS)
        << hfr_get_last_error(me.comm);
    send = std::copy(in.begin(), in.end(), static_cast<std::byte*>(shared)) - in.size();
    recv = static_cast<std::byte*>(shared) + in.size();
  }
  if (call.in_place) recv = send;
  ASSERT_EQ(hfr_all_reduce(send, recv, call.count, call.dtype, call.op, me.comm, nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(me.comm);
  const std::vector<std::byte> want = make_expected(call.dtype, call.op, me.num_nodes, call.count);
  EXPECT_EQ(std::memcmp(recv, want.data(), want.size()), 0)
      << "node " << me.node << " dtype " << call.dtype << " op " << call.op << " count "
      << call.count << " in place " << call.in_place << " library memory " << call.library_memory;
  EXPECT_EQ(hfr_mem_free(me.comm, shared), HFR_SUCCESS);
}

class RdmaAllReduce : public RdmaTest, public testing::WithParamInterface<int> {};

TEST_P(RdmaAllReduce, EveryTypeOperationAndSize) {
  const int num_nodes = GetParam();
  std::vector<uint64_t> before;
  for (int node = 0; node < num_nodes; ++node) before.push_back(sent_packets(node));
  const std::vector<Call> list = calls(num_nodes);
  Nodes nodes(num_nodes, [&](Member& me) {
    ASSERT_EQ(me.join(kTimeoutMs, kChunkBytes), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    for (const Call& call : list) check_call(me, call);
    me.leave();
  });
  nodes.join();
  for (int node = 0; node < num_nodes; ++node) {
    // A node sends at least one message in each call.
    EXPECT_GT(sent_packets(node) - before[static_cast<size_t>(node)], list.size())
        << device_name(node) << " carried too little";
  }
}

// From the call to its end, by this library and every other. Buffers that the devices cannot read
// are copied through a pool that grows to what is under way at once: so one of a few batches, all
// alike, must make none.
TEST_P(RdmaAllReduce, NoAllocation) {
  Nodes nodes(GetParam(), [](Member& me) {
    setenv("HFREDUCE_WINDOW", "4", 1);
    ASSERT_EQ(me.join(kTimeoutMs, kChunkBytes), HFR_SUCCESS) << hfr_get_last_error(nullptr);
    std::vector<float> data(6'000);
    auto all_reduce = [&](size_t count) {
      return hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_MAX, me.comm, nullptr,
                            nullptr);
    };
    uint64_t fewest = UINT64_MAX;
    for (int batch = 0; batch < 5; ++batch) {
      const uint64_t before = num_allocations();
      for (int i = 0; i < 5; ++i) {
        for (size_t count : {size_t{2}, size_t{300}, data.size()}) {
          ASSERT_EQ(all_reduce(count), HFR_SUCCESS) << hfr_get_last_error(me.comm);
        }
      }
      fewest = std::min(fewest, num_allocations() - before);
    }
    EXPECT_EQ(fewest, 0u) << "node " << me.node;
    me.leave();
  });
  nodes.join();
  EXPECT_GT(num_allocations(), 0u) << "the counter counts nothing";
}

INSTANTIATE_TEST_SUITE_P(Nodes, RdmaAllReduce, testing::Values(2, 3, 4, 5));

}  // namespace
}  // namespace hfr_tests
