#include <sstream>

#include "base/text.hpp"
#include "tools/topo_draw.hpp"

namespace hfr::tools {
namespace {

// A quoted string of Graphviz, which reads &amp; and the like in labels.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c == '&') {
      result += "&amp;";
    } else {
      result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result + "\"";
}

void draw_devices(std::ostringstream& out, const Topology& topology, int numa, const char* indent) {
  for (size_t d = 0; d < topology.devices.size(); ++d) {
    if (topology.devices[d].numa != numa) continue;
    out << indent << "device" << d << " [label=" << quoted(device_text(topology.devices[d]))
        << "];\n";
  }
}

void draw_machine(std::ostringstream& out, const Topology& topology) {
  out << "  subgraph cluster_machine {\n    label="
      << quoted(cat(topology.host, ": ", topology.processor)) << ";\n";
  for (const Socket& socket : topology.sockets) {
    out << "    subgraph cluster_socket" << socket.idx << " {\n      label="
        << quoted(cat("socket ", socket.idx, ": ", socket.num_cores, " cores, ", socket.num_threads,
                      " threads"))
        << ";\n      socket" << socket.idx << " [shape=point, style=invis];\n";
    for (const NumaNode& numa : topology.numa_nodes) {
      if (numa.socket != socket.idx) continue;
      out << "      subgraph cluster_numa" << numa.idx
          << " {\n        label=" << quoted(cat("NUMA node ", numa.idx)) << ";\n        numa"
          << numa.idx
          << " [label=" << quoted(cat(numa.num_cores, " cores, ", bytes_text(numa.bytes)))
          << "];\n";
      draw_devices(out, topology, numa.idx, "        ");
      out << "      }\n";
    }
    out << "    }\n";
  }
  draw_devices(out, topology, -1, "    ");
  out << "  }\n";
}

void draw_job(std::ostringstream& out, const JobShape& job) {
  static constexpr const char* kColours[] = {"blue",   "red",   "darkgreen", "orange",
                                             "purple", "brown", "gray",      "cyan"};
  for (int node = 0; node < job.nodes; ++node) {
    std::string label = cat("node ", node);
    for (int rank = 0; rank < job.ranks_per_node; ++rank) {
      label += cat("\nlocal rank ", rank, " owns lanes");
      for (int lane = rank; lane < job.window; lane += job.ranks_per_node) label += cat(" ", lane);
    }
    std::string text = quoted(label);
    // quoted() makes a line's end a blank; Graphviz wants \n.
    for (size_t at = 0; (at = text.find(" local rank", at)) != std::string::npos; at += 2)
      text.replace(at, 1, "\\n");
    out << "  node" << node << " [label=" << text << "];\n";
  }
  for (size_t t = 0; t < job.forest.size(); ++t) {
    for (int node = 0; node < job.nodes; ++node) {
      const int parent = job.forest[t].parent[static_cast<size_t>(node)];
      if (parent < 0) continue;
      out << "  node" << node << " -> node" << parent
          << " [color=" << kColours[t % std::size(kColours)]
          << ", label=" << quoted(cat("tree ", t)) << "];\n";
    }
  }
}

}  // namespace

std::string dot_graph(const Topology& topology, const JobShape& job) {
  std::ostringstream out;
  out << "digraph hfreduce {\n  node [shape=box, fontname=\"sans-serif\"];\n";
  draw_machine(out, topology);
  draw_job(out, job);
  out << "}\n";
  return out.str();
}

}  // namespace hfr::tools
