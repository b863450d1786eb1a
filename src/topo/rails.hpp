// Rails: which NICs a rank uses.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hfr {

// Indices of the rails to use, the preferred first: those at the least of `distances` (from the
// rank to each rail), in turn from one that depends on the rank's place on its node, so that ranks
// spread. Pure.
std::vector<size_t> order_rails(std::span<const int> distances, int local_rank);

// How far each NUMA node (-1: unknown) is from the CPUs that this process may run on, by hwloc; all
// the same where the system does not say.
std::vector<int> numa_distances(std::span<const int> numa_nodes);

}  // namespace hfr
