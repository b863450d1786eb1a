#include "tools/topo_draw.hpp"

#include <sstream>

#include "base/text.hpp"
#include "topo/tree.hpp"

namespace hfr::tools {
namespace {

std::string device_text(const PciDevice& device) {
  std::string text = cat(device.kind == PciDevice::Kind::kGpu ? "GPU " : "NIC ", device.bus_id);
  if (!device.system_name.empty()) text += " " + device.system_name;
  if (!device.name.empty()) text += " (" + device.name + ")";
  return text;
}

// For attributes of XML and strings of Graphviz alike.
std::string escape(const std::string& text) {
  std::string result;
  for (char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

class Svg {
 public:
  void box(int x, int y, int width, int height, const char* fill, const std::string& label) {
    body_ << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\""
          << height << "\" rx=\"4\" fill=\"" << fill << "\" stroke=\"#445\"/>\n";
    text(x + 8, y + 16, label);
  }
  void text(int x, int y, const std::string& label) {
    body_ << "<text x=\"" << x << "\" y=\"" << y << "\">" << escape(label) << "</text>\n";
  }
  std::string finish(int width, int height) const {
    return cat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
               "\" font-family=\"sans-serif\" font-size=\"12\">\n", body_.str(), "</svg>\n");
  }

 private:
  std::ostringstream body_;
};

}  // namespace

std::string topology_text(const Topology& topology) {
  std::ostringstream out;
  out << "processor   " << (topology.processor.empty() ? "unknown" : topology.processor) << "\n";
  out << "sockets     " << topology.num_sockets << ", cores " << topology.num_cores << ", threads "
      << topology.num_threads << ", granted to this process " << topology.usable_cpus << "\n";
  out << "memory      " << bytes_text(topology.memory_bytes) << "\n";
  for (const CacheLevel& cache : topology.caches) {
    out << "L" << cache.level << " cache    " << cache.count << " x " << bytes_text(cache.bytes)
        << "\n";
  }
  for (const NumaNode& numa : topology.numa_nodes) {
    out << "NUMA node " << numa.idx << " socket " << numa.socket << ", cores " << numa.num_cores
        << ", memory " << bytes_text(numa.bytes) << "\n";
  }
  for (PciDevice::Kind kind : {PciDevice::Kind::kGpu, PciDevice::Kind::kNic}) {
    int found = 0;
    for (const PciDevice& device : topology.devices) {
      if (device.kind != kind) continue;
      ++found;
      out << device_text(device) << (device.numa >= 0 ? cat(", NUMA node ", device.numa) : "")
          << "\n";
    }
    if (found == 0)
      out << (kind == PciDevice::Kind::kGpu ? "GPUs" : "NICs") << "        none on PCI\n";
  }
  return out.str();
}

std::string job_text(const JobShape& job) {
  std::ostringstream out;
  out << "job         " << job.nodes << " nodes x " << job.ranks_per_node << " ranks, window "
      << job.window << "\n";
  for (int lane = 0; lane < job.window; ++lane) {
    out << "  lane " << lane << ": owner is local rank " << lane % job.ranks_per_node;
    if (job.nodes > 1) out << ", rail tcp";
    out << "\n";
  }
  if (job.nodes == 1) return out.str();
  Forest forest = double_binary_tree(job.nodes);
  for (size_t t = 0; t < forest.size(); ++t) {
    out << "  tree " << t << ": root is node " << forest[t].root() << "; parents";
    for (int node = 0; node < job.nodes; ++node) {
      int parent = forest[t].parent[static_cast<size_t>(node)];
      if (parent >= 0) out << " " << node << "->" << parent;
    }
    out << "\n";
  }
  return out.str();
}

std::string dot_graph(const Topology& topology, const JobShape& job) {
  std::ostringstream out;
  out << "digraph hfreduce {\n  node [shape=box, fontname=\"sans-serif\"];\n";
  for (const NumaNode& numa : topology.numa_nodes) {
    out << "  subgraph cluster_numa" << numa.idx << " {\n    label=\"NUMA node " << numa.idx
        << ", socket " << numa.socket << ", " << numa.num_cores << " cores, "
        << bytes_text(numa.bytes) << "\";\n    numa" << numa.idx << " [label=\"memory\"];\n";
    for (size_t d = 0; d < topology.devices.size(); ++d) {
      if (topology.devices[d].numa != numa.idx) continue;
      out << "    device" << d << " [label=\"" << escape(device_text(topology.devices[d]))
          << "\"];\n";
    }
    out << "  }\n";
  }
  for (size_t d = 0; d < topology.devices.size(); ++d) {
    if (topology.devices[d].numa >= 0) continue;
    out << "  device" << d << " [label=\"" << escape(device_text(topology.devices[d])) << "\"];\n";
  }
  if (job.nodes > 1) {
    Forest forest = double_binary_tree(job.nodes);
    for (int node = 0; node < job.nodes; ++node)
      out << "  node" << node << " [label=\"node " << node << "\"];\n";
    for (size_t t = 0; t < forest.size(); ++t) {
      for (int node = 0; node < job.nodes; ++node) {
        int parent = forest[t].parent[static_cast<size_t>(node)];
        if (parent < 0) continue;
        out << "  node" << node << " -> node" << parent << " [color=" << (t == 0 ? "blue" : "red")
            << ", label=\"tree " << t << "\"];\n";
      }
    }
  }
  out << "}\n";
  return out.str();
}

std::string svg_drawing(const Topology& topology, const JobShape& job) {
  constexpr int kWidth = 760;
  constexpr int kLine = 24;
  Svg svg;
  int y = 10;
  svg.text(10, y + 12,
           cat(topology.processor, ", ", topology.num_cores, " cores, ",
               bytes_text(topology.memory_bytes)));
  y += kLine;
  for (const NumaNode& numa : topology.numa_nodes) {
    int devices = 0;
    for (const PciDevice& device : topology.devices) devices += device.numa == numa.idx ? 1 : 0;
    svg.box(10, y, kWidth - 20, kLine * (devices + 1) + 6, "#eef3fb",
            cat("NUMA node ", numa.idx, ", socket ", numa.socket, ", ", numa.num_cores, " cores, ",
                bytes_text(numa.bytes)));
    y += kLine;
    for (const PciDevice& device : topology.devices) {
      if (device.numa != numa.idx) continue;
      svg.box(24, y, kWidth - 48, kLine - 2,
              device.kind == PciDevice::Kind::kGpu ? "#dff2df" : "#fdf0d5", device_text(device));
      y += kLine;
    }
    y += 12;
  }
  for (const PciDevice& device : topology.devices) {
    if (device.numa >= 0) continue;
    svg.box(10, y, kWidth - 20, kLine - 2,
            device.kind == PciDevice::Kind::kGpu ? "#dff2df" : "#fdf0d5", device_text(device));
    y += kLine;
  }
  std::istringstream lines(job_text(job));
  for (std::string line; std::getline(lines, line);) {
    svg.text(10, y + 16, line);
    y += 18;
  }
  return svg.finish(kWidth, y + 14);
}

}  // namespace hfr::tools
