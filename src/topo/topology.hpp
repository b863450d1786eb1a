// Topology: what one machine is made of, as far as it matters here. A value.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hfr {

struct CacheLevel {
  int level = 0;
  size_t bytes = 0;  // of one
  int count = 0;
};

struct NumaNode {
  int idx = 0;
  int socket = 0;
  size_t bytes = 0;
  int num_cores = 0;
};

struct PciDevice {
  enum class Kind { kGpu, kNic };
  Kind kind = Kind::kGpu;
  std::string bus_id;       // "0000:17:00.0"
  std::string name;         // vendor and model where known
  std::string system_name;  // "mlx5_0", "eth0"; empty when no driver shows one
  int numa = -1;            // nearest NUMA node, -1 unknown
};

struct Topology {
  std::string processor;
  int num_sockets = 0;
  int num_cores = 0;
  int num_threads = 0;
  int usable_cpus = 0;  // what affinity and cgroup grant
  size_t memory_bytes = 0;
  std::vector<NumaNode> numa_nodes;
  std::vector<CacheLevel> caches;  // data and unified, by level
  std::vector<PciDevice> devices;
};

}  // namespace hfr
