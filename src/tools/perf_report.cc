#include "tools/perf_report.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "tools/perf_numbers.hpp"

namespace hfr::tools {
namespace {

constexpr int kNoRoot = -1;

template <typename... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  char line[256];
  std::snprintf(line, sizeof(line), pattern, arguments...);
  return line;
}

// Seven columns wide, with as many digits as fit.
std::string time_text(double us) {
  const int digits = us >= 10'000 ? 0 : us >= 100 ? 1 : 2;
  return format("%7.*f", digits, us);
}

std::string measurement_columns(const PerfRow& row, const Measurement& m, int num_ranks) {
  return format("  %7s  %6.2f  %6.2f  %5s", time_text(m.seconds * 1e6).c_str(),
                algorithm_bandwidth(row.bytes, m.seconds),
                bus_bandwidth(row.bytes, m.seconds, num_ranks),
                m.wrong ? cat(*m.wrong).c_str() : "N/A");
}

nlohmann::ordered_json measurement_json(const PerfRow& row, const Measurement& m, int num_ranks) {
  nlohmann::ordered_json json = {{"time_us", m.seconds * 1e6},
                                 {"algbw", algorithm_bandwidth(row.bytes, m.seconds)},
                                 {"busbw", bus_bandwidth(row.bytes, m.seconds, num_ranks)},
                                 {"wrong", nullptr}};
  if (m.wrong) json["wrong"] = *m.wrong;
  return json;
}

}  // namespace

PerfSummary summarize(const std::vector<PerfRow>& rows, int num_ranks) {
  PerfSummary summary;
  for (const PerfRow& row : rows) {
    for (const Measurement* m : {&row.out_of_place, &row.in_place}) {
      summary.wrong += m->wrong.value_or(0);
      summary.bus_bandwidth += bus_bandwidth(row.bytes, m->seconds, num_ranks);
    }
  }
  if (!rows.empty()) summary.bus_bandwidth /= 2.0 * static_cast<double>(rows.size());
  return summary;
}

std::string table_header() {
  const char* kMeasured = "     time   algbw   busbw #wrong";
  const char* kUnits = "     (us)  (GB/s)  (GB/s)       ";
  return format("#\n#%11s  %12s  %8s  %6s  %6s  %32s%32s\n", "", "", "", "", "",
                "out-of-place          ", "in-place            ") +
         format("#%11s  %12s  %8s  %6s  %6s%s%s\n", "size", "count", "type", "redop", "root",
                kMeasured, kMeasured) +
         format("#%11s  %12s  %8s  %6s  %6s%s%s\n", "(B)", "(elements)", "", "", "", kUnits,
                kUnits);
}

std::string table_row(const PerfRow& row, int num_ranks) {
  return format("%12zu  %12zu  %8s  %6s  %6d", row.bytes, row.count, type_name(row.type),
                op_name(row.op), kNoRoot) +
         measurement_columns(row, row.out_of_place, num_ranks) +
         measurement_columns(row, row.in_place, num_ranks) + "\n";
}

std::string table_footer(const PerfSummary& summary) {
  return format("# Out of bounds values : %llu %s\n",
                static_cast<unsigned long long>(summary.wrong),
                summary.wrong == 0 ? "OK" : "FAILED") +
         format("# Avg bus bandwidth    : %g\n#\n", summary.bus_bandwidth);
}

std::string json_document(const std::vector<PerfRow>& rows, const PerfJob& job) {
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (const PerfRow& row : rows) {
    results.push_back({{"size", row.bytes},
                       {"count", row.count},
                       {"type", type_name(row.type)},
                       {"redop", op_name(row.op)},
                       {"root", kNoRoot},
                       {"out_of_place", measurement_json(row, row.out_of_place, job.num_ranks)},
                       {"in_place", measurement_json(row, row.in_place, job.num_ranks)}});
  }
  const PerfSummary summary = summarize(rows, job.num_ranks);
  nlohmann::ordered_json document = {{"results", results},
                                     {"ranks", job.num_ranks},
                                     {"nodes", job.num_nodes},
                                     {"out_of_bounds", summary.wrong},
                                     {"average_bus_bandwidth", summary.bus_bandwidth},
                                     {"command", job.command}};
  // Arguments of a command line need not be UTF-8.
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace hfr::tools
