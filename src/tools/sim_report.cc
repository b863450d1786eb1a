#include "tools/sim_report.hpp"

#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "tools/print_format.hpp"
#include "tools/sim_fault_report.hpp"

namespace hfr::tools {
namespace {

std::string gbytes(double value) { return value > 0 ? format("%.2f", value) : "-"; }

// Kinds that some point has.
std::vector<size_t> kinds_of(const std::vector<SimPoint>& points) {
  std::vector<size_t> kinds;
  for (size_t kind = 0; kind < sim::kNumResourceKinds; ++kind) {
    for (const SimPoint& point : points) {
      if (point.utilisation[kind] < 0) continue;
      kinds.push_back(kind);
      break;
    }
  }
  return kinds;
}

const char* kind_name(size_t kind) {
  return sim::resource_kind_name(static_cast<sim::ResourceKind>(kind));
}

std::string microseconds(sim::SimTime time) { return format("%.6f", sim::seconds(time) * 1e6); }

}  // namespace

std::string sim_table(const std::vector<SimPoint>& points) {
  std::string text = format("%7s %6s %10s %8s %8s  %-20s %9s %9s\n", "GPUs", "nodes", "time",
                            "algbw", "busbw", "busiest", "NCCL ring", "NCCL tree");
  text += format("%7s %6s %10s %8s %8s  %-20s %9s %9s\n", "", "", "(ms)", "(GB/s)", "(GB/s)", "",
                 "(GB/s)", "(GB/s)");
  for (const SimPoint& p : points) {
    text += format("%7d %6d %10.3f %8.2f %8.2f  %-20s %9s %9s\n", p.num_gpus, p.num_nodes,
                   p.seconds * 1e3, p.algbw, p.busbw, p.limiter.c_str(),
                   gbytes(p.nccl_ring_algbw).c_str(), gbytes(p.nccl_tree_algbw).c_str());
  }
  const std::vector<size_t> kinds = kinds_of(points);
  text += "\nUse of the busiest of each kind, % of the time:\n";
  text += format("%7s", "GPUs");
  for (size_t kind : kinds) text += format(" %11s", kind_name(kind));
  text += "\n";
  for (const SimPoint& p : points) {
    text += format("%7d", p.num_gpus);
    for (size_t kind : kinds) {
      text += p.utilisation[kind] < 0 ? format(" %11s", "-")
                                      : format(" %11.1f", p.utilisation[kind] * 100);
    }
    text += "\n";
  }
  return text;
}

std::string sim_json(const sim::ClusterSpec& cluster, const std::vector<SimPoint>& points) {
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (const SimPoint& p : points) {
    nlohmann::ordered_json utilisation = nlohmann::ordered_json::object();
    for (size_t kind = 0; kind < sim::kNumResourceKinds; ++kind) {
      if (p.utilisation[kind] >= 0) utilisation[kind_name(kind)] = p.utilisation[kind];
    }
    nlohmann::ordered_json point = {
        {"gpus", p.num_gpus},         {"nodes", p.num_nodes},       {"size", p.bytes},
        {"time_us", p.seconds * 1e6}, {"algbw", p.algbw},           {"busbw", p.busbw},
        {"busiest", p.limiter},       {"utilisation", utilisation}, {"chunk_bytes", p.chunk_bytes},
        {"events", p.num_events}};
    if (p.nccl_ring_algbw > 0) {
      point["nccl_ring_algbw"] = p.nccl_ring_algbw;
      point["nccl_tree_algbw"] = p.nccl_tree_algbw;
    }
    if (!p.faults.empty()) add_faults(p, point);
    results.push_back(std::move(point));
  }
  return nlohmann::ordered_json{{"cluster", cluster.name}, {"results", std::move(results)}}.dump(
             2) +
         "\n";
}

std::string sim_trace(const sim::SpanLog& log, int ranks_per_node) {
  static constexpr const char* kNames[] = {"copy in", "copy out", "push", "group add",
                                           "pull",    "add",      "put"};
  std::string text = "[";
  const char* separator = "\n";
  std::vector<bool> named;
  for (const sim::Span& span : log.spans()) {
    const auto rank = static_cast<size_t>(span.rank);
    if (rank >= named.size()) named.resize(rank + 1, false);
    if (!named[rank]) {
      named[rank] = true;
      text += cat(separator, R"({"ph":"M","name":"process_name","pid":)", span.rank,
                  R"(,"args":{"name":"rank )", span.rank, " (node ", span.rank / ranks_per_node,
                  ")\"}}");
      separator = ",\n";
      for (size_t kind = 0; kind < std::size(kNames); ++kind) {
        text += cat(separator, R"({"ph":"M","name":"thread_name","pid":)", span.rank, R"(,"tid":)",
                    kind, R"(,"args":{"name":")", kNames[kind], "\"}}");
      }
    }
    // Sums and puts of one rank may overlap: an asynchronous event of its own for each.
    const bool overlaps = span.kind == sim::SpanKind::kAdd || span.kind == sim::SpanKind::kPut;
    const auto kind = static_cast<size_t>(span.kind);
    const std::string what =
        cat(R"("name":")", kNames[kind], R"(","cat":"sim","pid":)", span.rank, R"(,"tid":)", kind);
    std::string args = cat(R"("args":{")", span.kind == sim::SpanKind::kAdd ? "lane" : "chunk",
                           R"(":)", span.number, R"(,"bytes":)", span.bytes);
    if (span.peer >= 0) args += cat(R"(,"to_rank":)", span.peer);
    args += "}";
    if (!overlaps) {
      text += cat(separator, R"({"ph":"X",)", what, R"(,"ts":)", microseconds(span.begin),
                  R"(,"dur":)", microseconds(span.end - span.begin), ",", args, "}");
    } else {
      const auto id = static_cast<size_t>(&span - log.spans().data());
      text += cat(separator, R"({"ph":"b","id":)", id, ",", what, R"(,"ts":)",
                  microseconds(span.begin), ",", args, "}");
      text +=
          cat(",\n", R"({"ph":"e","id":)", id, ",", what, R"(,"ts":)", microseconds(span.end), "}");
    }
  }
  return text + "\n]\n";
}

}  // namespace hfr::tools
