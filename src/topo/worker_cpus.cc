#include "topo/worker_cpus.hpp"

#include <hwloc.h>

#include <algorithm>
#include <memory>

#include "topo/placement.hpp"

namespace hfr {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, Destroy>;

// Without devices, which take long to ask for. Null when the machine cannot be read.
Handle load_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  Handle topology(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  return hwloc_topology_load(raw) == 0 ? std::move(topology) : nullptr;
}

struct FreeBitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, FreeBitmap>;

std::vector<NodeCpus> allowed_cpus(hwloc_topology_t topology) {
  Bitmap mine(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(topology, mine.get(), HWLOC_CPUBIND_THREAD) != 0) {
    hwloc_bitmap_copy(mine.get(), hwloc_topology_get_allowed_cpuset(topology));
  }
  std::vector<NodeCpus> nodes;
  hwloc_obj_t node = nullptr;
  while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr) {
    NodeCpus entry;
    entry.numa = static_cast<int>(node->os_index);
    Bitmap cpus(hwloc_bitmap_alloc());
    hwloc_bitmap_and(cpus.get(), node->cpuset, mine.get());
    for (int cpu = hwloc_bitmap_first(cpus.get()); cpu >= 0;
         cpu = hwloc_bitmap_next(cpus.get(), cpu)) {
      entry.cpus.push_back(cpu);
    }
    hwloc_bitmap_singlify_per_core(topology, cpus.get(), 0);
    entry.num_cores = std::max(0, hwloc_bitmap_weight(cpus.get()));
    nodes.push_back(std::move(entry));
  }
  return nodes;
}

}  // namespace

std::vector<std::vector<int>> divide_cpus(const std::vector<NodeCpus>& nodes, int usable,
                                          const WorkerRequest& request) {
  std::vector<const NodeCpus*> chosen;
  for (const NodeCpus& node : nodes) {
    if (node.numa == request.numa && !node.cpus.empty()) chosen = {&node};
  }
  if (chosen.empty()) {
    for (const NodeCpus& node : nodes) {
      if (!node.cpus.empty()) chosen.push_back(&node);
    }
  }
  int num_cores = 0;
  for (const NodeCpus* node : chosen) num_cores += node->num_cores;
  const int granted = std::min(num_cores, usable) / std::max(1, request.num_shares);
  const int num_threads = std::max(1, std::min(request.max_threads, granted));
  std::vector<std::vector<int>> result(static_cast<size_t>(num_threads));
  if (chosen.empty()) return result;
  const size_t num_places = result.size() * static_cast<size_t>(std::max(1, request.num_shares));
  for (size_t w = 0; w < result.size(); ++w) {
    const size_t place = static_cast<size_t>(request.share_idx) * result.size() + w;
    result[w] = chosen[place * chosen.size() / num_places]->cpus;
  }
  return result;
}

std::vector<std::vector<int>> worker_cpus(const WorkerRequest& request) {
  Handle topology = load_topology();
  std::vector<NodeCpus> nodes;
  if (topology != nullptr) nodes = allowed_cpus(topology.get());
  if (nodes.empty()) nodes.push_back({0, {}, usable_cpus()});
  return divide_cpus(nodes, usable_cpus(), request);
}

void bind_threads(std::span<const pthread_t> threads, std::span<const std::vector<int>> cpus) {
  const bool any = std::any_of(cpus.begin(), cpus.end(), [](const auto& c) { return !c.empty(); });
  if (!any) return;
  Handle topology = load_topology();
  if (topology == nullptr) return;
  for (size_t t = 0; t < threads.size() && t < cpus.size(); ++t) {
    if (cpus[t].empty()) continue;
    Bitmap set(hwloc_bitmap_alloc());
    for (int cpu : cpus[t]) hwloc_bitmap_set(set.get(), static_cast<unsigned>(cpu));
    hwloc_set_thread_cpubind(topology.get(), threads[t], set.get(), 0);
  }
}

}  // namespace hfr
