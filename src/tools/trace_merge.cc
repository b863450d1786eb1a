#include "tools/trace_merge.hpp"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.hpp"
#include "tools/write_file.hpp"

namespace hfr::tools {
namespace {

using nlohmann::json;

struct Clock {
  std::string machine;
  double to_realtime_us = 0;
};

Status invalid(const TraceFile& file, const std::string& what) {
  return Status(Code::kInvalidArgument, cat(file.name, ": ", what));
}

// The events of one file, with times since 1970 or, where `clock` is the first file's, its own.
class Reader {
 public:
  explicit Reader(const TraceFile& file) : file_(file) {}

  Status read() {
    events_ = json::parse(file_.text, nullptr, false);
    if (events_.is_object() && events_.contains("traceEvents")) events_ = events_["traceEvents"];
    if (!events_.is_array()) return invalid(file_, "this is no trace of HFREDUCE_TRACE");
    for (const json& event : events_) {
      if (!event.is_object() || !event.value("pid", json()).is_number_integer())
        return invalid(file_, "an event has no process, so this is no trace of HFREDUCE_TRACE");
      const bool span = event.contains("ts");
      if (span && !event["ts"].is_number()) return invalid(file_, "an event's time is no number");
      if (event.value("name", json()) != "hfreduce_clock") continue;
      const json& args = event.value("args", json());
      if (!args.is_object() || !args.value("machine", json()).is_string() ||
          !args.value("to_realtime_ns", json()).is_number()) {
        return invalid(file_, "it does not say what its times are told by");
      }
      clock_ = Clock{args["machine"], args["to_realtime_ns"].get<double>() / 1000};
      rank_ = event["pid"];
    }
    if (!clock_) return invalid(file_, "it does not say what its times are told by");
    return Status();
  }

  const TraceFile& file() const { return file_; }
  const Clock& clock() const { return *clock_; }
  int64_t rank() const { return rank_; }
  json& events() { return events_; }

 private:
  const TraceFile& file_;
  json events_;
  std::optional<Clock> clock_;
  int64_t rank_ = 0;
};

}  // namespace

Result<std::string> merge_traces(std::span<const TraceFile> files) {
  std::map<int64_t, std::string> by_rank;
  std::map<std::string, double> shifts;  // by machine: all its ranks' clocks are one
  std::optional<double> first_shift;
  std::vector<json> metadata;
  std::vector<json> spans;
  for (const TraceFile& file : files) {
    Reader reader(file);
    HFR_RETURN_IF_ERROR(reader.read());
    const auto [other, is_new] = by_rank.emplace(reader.rank(), file.name);
    if (!is_new) {
      return invalid(file, cat("it is of rank ", reader.rank(), ", and so is ", other->second,
                               "; merge the files of one communicator"));
    }
    const double to_realtime_us = reader.clock().to_realtime_us;
    if (!first_shift) first_shift = to_realtime_us;
    // Differences are small numbers, which keep their nanoseconds.
    const double shift =
        shifts.emplace(reader.clock().machine, to_realtime_us - *first_shift).first->second;
    for (json& event : reader.events()) {
      if (!event.contains("ts")) {
        metadata.push_back(std::move(event));
        continue;
      }
      event["ts"] = event["ts"].get<double>() + shift;
      spans.push_back(std::move(event));
    }
  }
  const auto time = [](const json& event) { return event["ts"].get<double>(); };
  std::stable_sort(spans.begin(), spans.end(),
                   [&](const json& a, const json& b) { return time(a) < time(b); });
  const double begin = spans.empty() ? 0 : time(spans.front());
  for (json& event : spans) event["ts"] = std::max(0.0, time(event) - begin);
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  const char* separator = "\n";
  for (const std::vector<json>* events : {&metadata, &spans}) {
    for (const json& event : *events) {
      text += separator + event.dump();
      separator = ",\n";
    }
  }
  return text + "\n]}\n";
}

int merge_trace_files(const TraceMergeOptions& options) {
  std::vector<TraceFile> files;
  for (const std::string& name : options.files) {
    std::ifstream in(name, std::ios::binary);
    if (!in) {
      std::cerr << "hfreduce: " << name << " cannot be read\n";
      return 1;
    }
    files.push_back({name, {std::istreambuf_iterator<char>(in), {}}});
  }
  auto merged = merge_traces(files);
  const Status status = merged.ok() ? write_file(options.output, *merged) : merged.status();
  if (status.ok()) return 0;
  std::cerr << "hfreduce: " << status.message() << "\n";
  return 1;
}

}  // namespace hfr::tools
