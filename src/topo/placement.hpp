// Placement: what of the machine this process may use, and where memory goes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hfr {

// CPUs that this process may keep busy: its affinity, and its cgroup's quota where that is less. At
// least 1.
int usable_cpus();
int affinity_cpus();
int quota_cpus();  // rounded up; 0: no quota

// The CPUs that the calling thread may run on, as a list such as "0-3,8".
std::string affinity_list();

// Of the ranks of one machine, each with the list of its CPUs: true when rank `mine` and all that
// share a CPU with it can have one each, of their CPUs together and of `quota` (0: no quota).
bool have_cpu_each(const std::vector<std::string>& lists, size_t mine, int quota);

// Physical memory in bytes, or the cgroup's limit where that is less.
size_t machine_memory_bytes();

// The largest cache that one CPU sees, in bytes; 0: the system does not say. (The C library's
// answer counts all caches of a socket on some processors.)
size_t last_level_cache_bytes();

// Equal for two processes exactly when they run on one booted machine and can reach each other's
// local sockets: a hash of the boot id and the network namespace.
std::string machine_id();

// NUMA nodes that have memory. At least 1.
int num_numa_nodes();

// Spreads the pages of [memory, memory + bytes), not touched yet, over the machine's NUMA nodes.
// Best effort; does nothing with one NUMA node.
void interleave_memory(void* memory, size_t bytes);

// How many numbers are in a list such as "0-3,8": 5. 0 when it is no such list.
int count_list(const std::string& text);

// The CPU quota in a cgroup's "max 100000" or "200000 100000": CPUs, rounded up, or 0 for no limit.
int parse_cpu_max(const std::string& text);

}  // namespace hfr
