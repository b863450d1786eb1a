// Topology: what one machine is made of, as far as it matters here. A value.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hfr {

struct Socket {
  int idx = 0;
  int num_cores = 0;
  int num_threads = 0;
};

// All caches of one level and size.
struct CacheLevel {
  int level = 0;
  size_t bytes = 0;  // of one
  int count = 0;
  int cores_each = 0;  // that share one
};

struct NumaNode {
  int idx = 0;  // the system's number
  int socket = 0;
  size_t bytes = 0;
  int num_cores = 0;
};

struct PciDevice {
  enum class Kind { kGpu, kNic };
  Kind kind = Kind::kGpu;
  std::string bus_id;                     // "0000:17:00.0"
  std::string name;                       // vendor and model where known
  std::vector<std::string> system_names;  // "mlx5_0", "eth0"; empty when no driver shows one
  int numa = -1;                          // nearest NUMA node, -1 unknown
  double link_gbytes_per_s = 0;           // of its PCI link, 0 unknown
};

// Network interfaces that are up, on PCI or not.
struct NetworkInterface {
  std::string name;
  std::string address;  // its first; numeric
};

struct Topology {
  std::string host;
  std::string processor;
  int num_cores = 0;
  int num_threads = 0;
  int allowed_cpus = 0;  // by this process' affinity
  int quota_cpus = 0;    // by its cgroup's quota, rounded up; 0: none
  int usable_cpus = 0;   // the lesser
  size_t memory_bytes = 0;
  std::vector<Socket> sockets;
  std::vector<NumaNode> numa_nodes;
  std::vector<CacheLevel> caches;  // data and unified, by level
  std::vector<PciDevice> devices;
  std::vector<NetworkInterface> interfaces;
};

}  // namespace hfr
