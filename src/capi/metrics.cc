#include "capi/metrics.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/text.hpp"

namespace hfr {
namespace {

static_assert(HFR_TIME_BUCKETS == kTimeBuckets);
static_assert(time_bucket_limit_ns(1) == 4096 * 4);
static_assert(sizeof(hfr_stage_metrics_t) == sizeof(uint64_t) * (4 + HFR_TIME_BUCKETS));
constexpr size_t kMostBytes = 65536;  // more than the struct will ever have

hfr_stage_metrics_t stage(const StageTotals& totals) {
  hfr_stage_metrics_t stage{};
  stage.count = totals.count;
  stage.bytes = totals.bytes;
  stage.timed = totals.timed;
  stage.time_ns = totals.time_ns;
  std::copy(totals.buckets.begin(), totals.buckets.end(), stage.buckets);
  return stage;
}

}  // namespace

Status fill_metrics(const CommMetrics& metrics, hfr_comm_metrics_t* out) {
  const size_t size = out->size;
  if (size < sizeof(hfr_comm_metrics_t) || size > kMostBytes) {
    return Status(Code::kInvalidArgument,
                  cat("hfr_comm_metrics_t: size is ", size, "; start from HFR_COMM_METRICS_INIT"));
  }
  hfr_comm_metrics_t filled = HFR_COMM_METRICS_INIT;
  filled.size = size;
  filled.operations_started = metrics.operations_started;
  filled.operations_flat = metrics.operations_by_path[0];
  filled.operations_direct = metrics.operations_by_path[1];
  filled.operations_lanes = metrics.operations_by_path[2];
  filled.operation = stage(metrics.of(Stage::kOperation));
  filled.copy_in = stage(metrics.of(Stage::kCopyIn));
  filled.copy_out = stage(metrics.of(Stage::kCopyOut));
  filled.add = stage(metrics.of(Stage::kAdd));
  filled.direct_add = stage(metrics.of(Stage::kDirectAdd));
  filled.send = stage(metrics.of(Stage::kSend));
  filled.receive = stage(metrics.of(Stage::kReceive));
  filled.wait_input = stage(metrics.of(Stage::kWaitInput));
  filled.wait_slot = stage(metrics.of(Stage::kWaitSlot));
  filled.wait_partial_sum = stage(metrics.of(Stage::kWaitPartialSum));
  filled.wait_final_value = stage(metrics.of(Stage::kWaitFinalValue));
  filled.puts_refused = metrics.puts_refused;
  filled.sleeps = metrics.sleeps;
  filled.links_broken = metrics.links_broken;
  filled.links_mended = metrics.links_mended;
  filled.failure = static_cast<hfr_status_t>(metrics.failure);
  // A newer caller's struct is longer: what is not known here stays as it is.
  std::memcpy(out, &filled, std::min(size, sizeof(filled)));
  return Status();
}

}  // namespace hfr
