// What the engine leaves in a rank's record.
#include "engine/recorder.hpp"

#include <gmock/gmock.h>

#include <map>

#include "base/signature.hpp"
#include "cluster.hpp"

namespace hfr_tests {
namespace {

using hfr::Record;
using hfr::RecordedSpan;
using hfr::WaitStage;
using hfr::record::SpanStage;
using testing::HasSubstr;

void submit_all(EngineCluster& cluster, Buffers& buffers) {
  for (int rank = 0; rank < cluster.num_ranks(); ++rank) {
    ASSERT_TRUE(cluster[rank].submit(buffers.descriptor(rank)));
  }
}

uint64_t int64_signature(size_t count) {
  return hfr::make_signature(count, hfr::DType::kInt64, hfr::Op::kSum);
}

std::map<SpanStage, int> count_stages(const Record& record) {
  std::map<SpanStage, int> counts;
  for (const RecordedSpan& span : record.spans) ++counts[span.stage];
  return counts;
}

TEST(Recorder, EveryCallAndItsEnd) {
  EngineCluster cluster({.ranks_per_node = {2}, .recorded = true});
  for (size_t n = 0; n < 3; ++n) {
    Buffers buffers(2, 10 + n, false);
    submit_all(cluster, buffers);
    while (!cluster.all_done(n)) cluster.turn();
  }
  Buffers buffers(2, 99, false);
  ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  Record record = cluster.record(0);
  EXPECT_EQ(record.called, 3u);
  EXPECT_EQ(record.completed, 3u);
  EXPECT_THAT(record.calls,
              testing::ElementsAre(int64_signature(10), int64_signature(11), int64_signature(12)));
  record = cluster.record(1);
  EXPECT_EQ(record.called, 4u);
  EXPECT_EQ(record.completed, 3u);
  EXPECT_EQ(record.calls.back(), int64_signature(99));
}

// Both ways of an operation that is finished in one call: at once, and later on.
TEST(Recorder, AnOperationInOneCall) {
  EngineCluster cluster({.ranks_per_node = {2}, .recorded = true});
  Buffers buffers(2, 1, false);
  ASSERT_TRUE(cluster[0].submit_and_finish(buffers.descriptor(0), 0));
  EXPECT_EQ(cluster.record(0).called, 1u);
  EXPECT_EQ(cluster.record(0).completed, 0u);
  ASSERT_TRUE(cluster[1].submit_and_finish(buffers.descriptor(1), 0));
  EXPECT_EQ(cluster.record(1).completed, 1u) << "the other one was there";
  cluster.turn();
  EXPECT_EQ(cluster.record(0).completed, 1u);
  EXPECT_THAT(cluster.record(0).calls, testing::ElementsAre(int64_signature(1)));
  buffers.check();
}

TEST(Recorder, TheStagesOfChunks) {
  EngineCluster cluster({.ranks_per_node = {2, 1},
                         .window = 4,
                         .chunk_bytes = 65'536,
                         .direct = false,
                         .staged = true,
                         .recorded = true});
  Buffers buffers(3, 32'768, false);  // four chunks
  submit_all(cluster, buffers);
  while (!cluster.all_done(0)) {
    cluster.turn();
    cluster.clock().now += 10;
  }
  buffers.check();
  // Ranks 0 and 1 own two chunks each, rank 2 all four of its node.
  int adds = 0;
  for (int rank : {0, 1, 2}) {
    const Record record = cluster.record(rank);
    auto counts = count_stages(record);
    const int owned = rank == 2 ? 4 : 2;
    adds += counts[SpanStage::kAdd];
    EXPECT_EQ(counts[SpanStage::kCopyIn], 4) << rank;
    EXPECT_EQ(counts[SpanStage::kCopyOut], 4) << rank;
    EXPECT_EQ(counts[SpanStage::kPut], owned) << rank;
    EXPECT_GE(counts[SpanStage::kInputs] + counts[SpanStage::kFinalValue], owned) << rank;
    for (const RecordedSpan& span : record.spans) {
      EXPECT_EQ(span.bytes, 65'536u);
      EXPECT_LT(span.chunk, 4u);
      EXPECT_LE(span.end_ns, cluster.clock().now);
      if (span.stage == SpanStage::kPut) {
        EXPECT_EQ(span.rank, rank == 2 ? static_cast<int>(span.chunk % 2) : 2);
      }
    }
  }
  EXPECT_GE(adds, 4);
}

TEST(Recorder, SmallChunksAreNotTimed) {
  EngineCluster cluster({.ranks_per_node = {1, 1}, .recorded = true});
  Buffers buffers(2, 100, false);
  submit_all(cluster, buffers);
  while (!cluster.all_done(0)) cluster.turn();
  EXPECT_TRUE(cluster.record(0).spans.empty());
  EXPECT_EQ(cluster.record(0).completed, 1u);
}

TEST(Recorder, SlicesOfTheDirectPath) {
  EngineCluster cluster({.ranks_per_node = {2}, .recorded = true});
  Buffers buffers(2, 100'000, false);
  submit_all(cluster, buffers);
  cluster[1].progress();  // announces it
  for (int turn = 0; turn < 50; ++turn) {
    cluster[0].progress();
    cluster.clock().now += 10;
  }
  while (!cluster.all_done(0)) cluster.turn();
  const Record record = cluster.record(0);
  ASSERT_EQ(record.spans.size(), 2u);
  EXPECT_EQ(record.spans[0].stage, SpanStage::kAdd);
  EXPECT_EQ(record.spans[0].bytes, 400'000u);
  EXPECT_EQ(record.spans[1].stage, SpanStage::kSlices);
  EXPECT_EQ(record.spans[1].rank, 1) << "whose slice came last";
  EXPECT_GT(record.spans[1].end_ns, record.spans[1].begin_ns);
}

TEST(Recorder, LongWaitsAndForWhom) {
  EngineCluster cluster({.ranks_per_node = {2, 1}, .recorded = true});
  Buffers buffers(3, 50'000, false);
  ASSERT_TRUE(cluster[0].submit(buffers.descriptor(0)));
  cluster.turn();
  const uint64_t start = cluster.clock().now;
  EXPECT_FALSE(cluster[0].check(start));
  EXPECT_FALSE(cluster.record(0).wait) << "it has only begun";
  cluster.clock().now += hfr::Recorder::kLongWaitNs;
  EXPECT_FALSE(cluster[0].check(cluster.clock().now));
  Record record = cluster.record(0);
  ASSERT_TRUE(record.wait);
  EXPECT_EQ(record.wait->wait.rank, 1);
  EXPECT_EQ(record.wait->wait.stage, WaitStage::kStarting);
  EXPECT_EQ(record.wait->since_ns, start);
  EXPECT_EQ(record.wait->looked_ns, cluster.clock().now);
  ASSERT_TRUE(cluster[1].submit(buffers.descriptor(1)));
  while (cluster.turn()) {
  }
  cluster.clock().now += hfr::Recorder::kLongWaitNs;
  EXPECT_FALSE(cluster[0].check(cluster.clock().now));
  record = cluster.record(0);
  ASSERT_TRUE(record.wait);
  EXPECT_EQ(record.wait->wait.rank, 2);
  EXPECT_EQ(record.wait->since_ns, start);
  ASSERT_TRUE(cluster[2].submit(buffers.descriptor(2)));
  while (!cluster.all_done(0)) cluster.turn();
  EXPECT_FALSE(cluster.record(0).wait) << "it is over";
}

TEST(Recorder, AStreamThatDoesNotCome) {
  EngineCluster cluster({.ranks_per_node = {2}, .recorded = true});
  Buffers buffers(2, 10, false);
  hfr::OpDescriptor late = buffers.descriptor(0);
  late.ready = false;
  ASSERT_TRUE(cluster[0].submit(late));
  cluster[0].check(cluster.clock().now);
  cluster.clock().now += hfr::Recorder::kLongWaitNs;
  cluster[0].check(cluster.clock().now);
  const Record record = cluster.record(0);
  ASSERT_TRUE(record.wait);
  EXPECT_EQ(record.wait->wait.rank, 0);
  EXPECT_EQ(record.wait->wait.stage, WaitStage::kStream);
}

TEST(Recorder, TheFailure) {
  EngineCluster cluster({.ranks_per_node = {2}, .recorded = true});
  Buffers five(2, 5, false);
  Buffers six(2, 6, false);
  ASSERT_TRUE(cluster[0].submit(five.descriptor(0)));
  ASSERT_TRUE(cluster[1].submit(six.descriptor(1)));
  while (cluster.turn()) {
  }
  for (int rank : {0, 1}) {
    const Record record = cluster.record(rank);
    ASSERT_TRUE(record.failure) << rank;
    EXPECT_EQ(record.failure->status.code(), hfr::Code::kMismatch);
    EXPECT_THAT(record.failure->status.message(), HasSubstr("of 5 int64"));
    EXPECT_EQ(record.end, hfr::record::EndState::kFailed);
  }
}

}  // namespace
}  // namespace hfr_tests
