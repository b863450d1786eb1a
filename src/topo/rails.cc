#include "topo/rails.hpp"

#include <hwloc.h>

#include <algorithm>
#include <limits>

namespace hfr {

std::vector<size_t> order_rails(std::span<const int> distances, int local_rank) {
  std::vector<size_t> nearest;
  for (size_t i = 0; i < distances.size(); ++i) {
    if (distances[i] == *std::min_element(distances.begin(), distances.end())) nearest.push_back(i);
  }
  if (!nearest.empty()) {
    const size_t turn = static_cast<size_t>(local_rank) % nearest.size();
    std::rotate(nearest.begin(), nearest.begin() + static_cast<std::ptrdiff_t>(turn),
                nearest.end());
  }
  return nearest;
}

std::vector<int> numa_distances(std::span<const int> numa_nodes) {
  std::vector<int> result(numa_nodes.size(), 0);
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return result;
  hwloc_bitmap_t here = hwloc_bitmap_alloc();
  hwloc_distances_s* matrix = nullptr;
  unsigned num_matrices = 1;
  if (hwloc_topology_load(topology) == 0 &&
      hwloc_get_cpubind(topology, here, HWLOC_CPUBIND_PROCESS) == 0 &&
      hwloc_distances_get_by_name(topology, "NUMALatency", &num_matrices, &matrix, 0) == 0 &&
      num_matrices == 1) {
    // From the nearest of the nodes that this process may run on.
    for (size_t i = 0; i < numa_nodes.size(); ++i) {
      int least = std::numeric_limits<int>::max();
      for (unsigned from = 0; from < matrix->nbobjs; ++from) {
        if (!hwloc_bitmap_intersects(matrix->objs[from]->cpuset, here)) continue;
        for (unsigned to = 0; to < matrix->nbobjs; ++to) {
          if (static_cast<int>(matrix->objs[to]->os_index) != numa_nodes[i]) continue;
          const auto distance = static_cast<int>(matrix->values[from * matrix->nbobjs + to]);
          least = std::min(least, distance);
        }
      }
      result[i] = least;
    }
  }
  if (matrix != nullptr) hwloc_distances_release(topology, matrix);
  hwloc_bitmap_free(here);
  hwloc_topology_destroy(topology);
  return result;
}

}  // namespace hfr
