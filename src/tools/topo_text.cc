#include <functional>
#include <sstream>

#include "base/text.hpp"
#include "tools/topo_draw.hpp"

namespace hfr::tools {
namespace {

std::string plural(int count, const std::string& thing) {
  return cat(count, " ", thing, count == 1 ? "" : "s");
}

// Children indented below their parent.
std::string tree_text(const Tree& tree) {
  std::ostringstream out;
  std::function<void(int, int)> draw = [&](int node, int depth) {
    out << std::string(static_cast<size_t>(4 + 2 * depth), ' ') << "node " << node << "\n";
    for (int child : tree.children[static_cast<size_t>(node)]) draw(child, depth + 1);
  };
  draw(tree.root(), 0);
  return out.str();
}

}  // namespace

std::string device_text(const PciDevice& device) {
  std::string text = cat(device.kind == PciDevice::Kind::kGpu ? "GPU " : "NIC ", device.bus_id);
  for (const std::string& name : device.system_names) text += " " + name;
  if (!device.name.empty()) text += " (" + device.name + ")";
  if (device.link_gbytes_per_s > 0) text += cat(", link ", device.link_gbytes_per_s, " GB/s");
  return text;
}

std::string topology_text(const Topology& topology) {
  std::ostringstream out;
  out << "machine    " << topology.host << "\n";
  out << "processor  " << (topology.processor.empty() ? "unknown" : topology.processor) << ", "
      << plural(topology.num_cores, "core") << ", " << plural(topology.num_threads, "thread")
      << "\n";
  out << "granted    " << plural(topology.usable_cpus, "CPU") << " (affinity "
      << topology.allowed_cpus << ", cgroup quota "
      << (topology.quota_cpus > 0 ? cat(topology.quota_cpus) : "none") << "), memory "
      << bytes_text(topology.memory_bytes) << "\n";
  for (const Socket& socket : topology.sockets) {
    out << "socket " << socket.idx << "   " << plural(socket.num_cores, "core") << ", "
        << plural(socket.num_threads, "thread") << "\n";
    for (const NumaNode& numa : topology.numa_nodes) {
      if (numa.socket != socket.idx) continue;
      out << "  NUMA node " << numa.idx << ": " << plural(numa.num_cores, "core") << ", memory "
          << bytes_text(numa.bytes) << "\n";
    }
  }
  for (const CacheLevel& cache : topology.caches) {
    out << "L" << cache.level << " cache   " << cache.count << " x " << bytes_text(cache.bytes)
        << ", " << plural(cache.cores_each, "core") << " each\n";
  }
  for (PciDevice::Kind kind : {PciDevice::Kind::kGpu, PciDevice::Kind::kNic}) {
    bool found = false;
    for (const PciDevice& device : topology.devices) {
      if (device.kind != kind) continue;
      found = true;
      out << device_text(device) << (device.numa >= 0 ? cat(", NUMA node ", device.numa) : "")
          << "\n";
    }
    if (!found)
      out << (kind == PciDevice::Kind::kGpu ? "GPUs       none on PCI\n"
                                            : "NICs       none on PCI\n");
  }
  for (const NetworkInterface& interface : topology.interfaces) {
    out << "interface  " << interface.name << " " << interface.address << "\n";
  }
  return out.str();
}

std::string job_text(const JobShape& job) {
  std::ostringstream out;
  out << "job        " << plural(job.nodes, "node") << " x " << plural(job.ranks_per_node, "rank")
      << ", window " << job.window << "\n";
  for (int lane = 0; lane < job.window; ++lane) {
    out << "  lane " << lane << ": owner local rank " << job.owner(lane);
    if (job.nodes > 1) out << ", tree " << job.tree(lane) << ", rail " << job.rail;
    out << "\n";
  }
  if (job.nodes == 1) return out.str();
  out << "forest     " << forest_kind_name(job.kind) << ", "
      << plural(static_cast<int>(job.forest.size()), "tree") << "\n";
  for (size_t t = 0; t < job.forest.size(); ++t)
    out << "  tree " << t << "\n" << tree_text(job.forest[t]);
  return out.str();
}

}  // namespace hfr::tools
