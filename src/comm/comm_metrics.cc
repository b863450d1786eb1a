#include "comm/comm_metrics.hpp"

#include <functional>
#include <utility>

#include "base/text.hpp"

namespace hfr {
namespace {

using Labels = std::string;  // rank="0",node="0"
constexpr std::array<const char*, 3> kPaths = {"flat", "direct", "lanes"};
constexpr std::array<std::pair<Stage, const char*>, 6> kStages = {
    {{Stage::kCopyIn, "copy_in"},
     {Stage::kCopyOut, "copy_out"},
     {Stage::kAdd, "add"},
     {Stage::kDirectAdd, "direct_add"},
     {Stage::kSend, "send"},
     {Stage::kReceive, "receive"}}};
constexpr std::array<std::pair<Stage, const char*>, 4> kWaits = {
    {{Stage::kWaitInput, "input"},
     {Stage::kWaitSlot, "slot"},
     {Stage::kWaitPartialSum, "partial_sum"},
     {Stage::kWaitFinalValue, "final_value"}}};

const char* code_word(Code code) {
  switch (code) {
    case Code::kOk:
      return "none";
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kInvalidUsage:
      return "invalid_usage";
    case Code::kSystemError:
      return "system_error";
    case Code::kOutOfMemory:
      return "out_of_memory";
    case Code::kTimeout:
      return "timeout";
    case Code::kRemoteError:
      return "remote_error";
    case Code::kAborted:
      return "aborted";
    case Code::kMismatch:
      return "mismatch";
    case Code::kInProgress:
      return "in_progress";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kCorrupted:
      return "corrupted";
    case Code::kInternalError:
      break;
  }
  return "internal_error";
}

// Exactly, whatever the number: seconds with all nine digits.
std::string seconds(uint64_t ns) {
  return cat(ns / 1'000'000'000, ".", std::to_string(1'000'000'000 + ns % 1'000'000'000).substr(1));
}

// One page. Metrics of a name stand together, those of all communicators.
class Page {
 public:
  explicit Page(std::span<const CommMetrics> all) : all_(all) {}

  void metric(const char* name, const char* type, const char* help,
              const std::function<void(const CommMetrics&, const Labels&)>& write) {
    name_ = name;
    text_ += cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
    for (const CommMetrics& one : all_) {
      write(one, cat("rank=\"", one.rank, "\",node=\"", one.node, "\",comm=\"", one.comm, "\""));
    }
  }
  void counter(const char* name, const char* help, uint64_t CommMetrics::*value) {
    metric(name, "counter", help,
           [&](const CommMetrics& one, const Labels& labels) { line(labels, one.*value); });
  }

  void line(const Labels& labels, uint64_t value) {
    text_ += cat(name_, "{", labels, "} ", value, "\n");
  }
  void histogram(const Labels& labels, const StageTotals& totals) {
    uint64_t up_to = 0;
    for (size_t i = 0; i < kTimeBuckets; ++i) {
      up_to += totals.buckets[i];
      const std::string le =
          i + 1 < kTimeBuckets ? seconds(time_bucket_limit_ns(i)) : std::string("+Inf");
      text_ += cat(name_, "_bucket{", labels, ",le=\"", le, "\"} ", up_to, "\n");
    }
    text_ += cat(name_, "_sum{", labels, "} ", seconds(totals.time_ns), "\n", name_, "_count{",
                 labels, "} ", up_to, "\n");
  }
  std::string take() { return std::move(text_); }

 private:
  std::span<const CommMetrics> all_;
  std::string name_;
  std::string text_;
};

void write_operations(Page& page) {
  page.counter("hfreduce_operations_started_total", "Operations that were started.",
               &CommMetrics::operations_started);
  page.counter("hfreduce_operations_completed_total", "Operations that are complete.",
               &CommMetrics::operations_completed);
  page.metric("hfreduce_operation_bytes_total", "counter",
              "Bytes of one buffer of each operation that was started.",
              [&](const CommMetrics& one, const Labels& labels) {
                page.line(labels, one.of(Stage::kOperation).bytes);
              });
  page.metric("hfreduce_operations_total", "counter", "Operations by the path that they took.",
              [&](const CommMetrics& one, const Labels& labels) {
                for (size_t i = 0; i < kPaths.size(); ++i) {
                  page.line(cat(labels, ",path=\"", kPaths[i], "\""), one.operations_by_path[i]);
                }
              });
  page.metric("hfreduce_operation_seconds", "histogram",
              "From announcement to completion, of operations of 256 KiB or more.",
              [&](const CommMetrics& one, const Labels& labels) {
                page.histogram(labels, one.of(Stage::kOperation));
              });
}

void write_stages(Page& page) {
  const auto each = [&](const char* label, const auto& stages, auto&& write) {
    return [&page, label, &stages, write](const CommMetrics& one, const Labels& labels) {
      for (const auto& [stage, word] : stages)
        write(page, cat(labels, ",", label, "=\"", word, "\""), one.of(stage));
    };
  };
  const auto count = [](Page& p, const Labels& l, const StageTotals& t) { p.line(l, t.count); };
  const auto bytes = [](Page& p, const Labels& l, const StageTotals& t) { p.line(l, t.bytes); };
  const auto times = [](Page& p, const Labels& l, const StageTotals& t) { p.histogram(l, t); };
  page.metric("hfreduce_stage_chunks_total", "counter", "Chunks that went through a stage.",
              each("stage", kStages, count));
  page.metric("hfreduce_stage_bytes_total", "counter", "Bytes of those chunks.",
              each("stage", kStages, bytes));
  page.metric("hfreduce_stage_seconds", "histogram", "Time of a chunk in a stage, of large chunks.",
              each("stage", kStages, times));
  page.metric("hfreduce_waits_total", "counter", "Waits of chunks, by what for.",
              each("for", kWaits, count));
  page.metric("hfreduce_wait_seconds", "histogram", "Time of a wait, of large chunks.",
              each("for", kWaits, times));
}

}  // namespace

void CommMetrics::add(const CommMetrics& earlier) {
  operations_started += earlier.operations_started;
  operations_completed += earlier.operations_completed;
  for (size_t i = 0; i < operations_by_path.size(); ++i)
    operations_by_path[i] += earlier.operations_by_path[i];
  for (size_t i = 0; i < stages.size(); ++i) {
    StageTotals& stage = stages[i];
    const StageTotals& before = earlier.stages[i];
    stage.count += before.count;
    stage.bytes += before.bytes;
    stage.timed += before.timed;
    stage.time_ns += before.time_ns;
    for (size_t j = 0; j < stage.buckets.size(); ++j) stage.buckets[j] += before.buckets[j];
  }
  puts_refused += earlier.puts_refused;
  sleeps += earlier.sleeps;
  links_broken += earlier.links_broken;
  links_mended += earlier.links_mended;
}

std::string prometheus_text(std::span<const CommMetrics> all) {
  Page page(all);
  write_operations(page);
  write_stages(page);
  page.counter("hfreduce_puts_refused_total",
               "Puts that found the transport's queue full and were tried again.",
               &CommMetrics::puts_refused);
  page.counter("hfreduce_sleeps_total", "Sleeps of a thread that waited.", &CommMetrics::sleeps);
  page.counter("hfreduce_links_broken_total", "Connections between nodes that broke.",
               &CommMetrics::links_broken);
  page.counter("hfreduce_links_mended_total", "Connections between nodes that were made anew.",
               &CommMetrics::links_mended);
  page.metric("hfreduce_failed", "gauge", "1 once the communicator has failed.",
              [&](const CommMetrics& one, const Labels& labels) {
                page.line(cat(labels, ",status=\"", code_word(one.failure), "\""),
                          one.failure == Code::kOk ? 0 : 1);
              });
  return page.take();
}

}  // namespace hfr
