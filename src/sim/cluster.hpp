// ClusterSpec: what a simulated cluster is made of. A value; docs/simulator.md explains each field,
// tools/ reads it from a file.
//
// Rates are bytes per second, times microseconds, unless the name says otherwise.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace hfr::sim {

struct SocketSpec {
  double memory_rate = 0;  // reads and writes together
  double add_rate = 0;     // bytes of inputs that its cores add
  size_t cache_bytes = 0;  // last level, all of the socket's
};

struct RootPortSpec {
  int socket = 0;
  double each_way_rate = 0;
  double both_ways_rate = 0;  // in and out together
};

struct GpuSpec {
  int root_port = 0;
  double each_way_rate = 0;
  double memory_rate = 0;  // of the GPU's own memory
};

struct NicSpec {
  int root_port = 0;
  double each_way_rate = 0;
};

// What one core does, in bytes a second.
struct CoreRates {
  double copy = 0;     // to and from staging
  double add = 0;      // of inputs
  double send = 0;     // into a socket
  double receive = 0;  // out of it
};

// Ranks in host memory, each a thread of at most one core, that share `cores`.
struct HostSpec {
  int ranks = 0;
  double cores = 0;
  CoreRates rates;
  std::optional<CoreRates> cached;  // of messages that stay in the caches; none: they are alike
};

struct NodeSpec {
  std::vector<SocketSpec> sockets;  // one or two
  double socket_link_rate = 0;      // each way between two sockets
  std::vector<RootPortSpec> root_ports;
  std::vector<GpuSpec> gpus;
  int ranks_per_gpu = 1;  // more: threads of one process that share each
  std::vector<NicSpec> nics;
  HostSpec host;  // in place of GPUs and NICs

  std::vector<std::vector<int>> gpu_groups;  // joined by NVLink
  double gpu_group_rate = 0;                 // of one GPU, each way
  double gpu_peer_rate = 0;          // between a GPU and another device on PCIe; NCCL's model only
  bool dma_uses_cache = false;       // devices' writes go to the last cache, and reads come from it
  bool copy_out_reads_once = false;  // GPUs of a socket share one read of host memory
  // Result and child slots lie on the socket of their owner's NIC, as the paper has them. The
  // library interleaves all of staging.
  bool results_near_nic = false;
  bool inputs_near_gpu = false;  // input slots lie on the socket of their rank's GPU

  double copy_overhead_us = 0;  // of each copy in its queue; of each batch where ranks share a GPU
  double add_overhead_us = 0;   // from submitting a sum to its beginning

  int num_ranks() const {
    return host.ranks > 0 ? host.ranks : static_cast<int>(gpus.size()) * ranks_per_gpu;
  }
  size_t gpu_of(int local_rank) const { return static_cast<size_t>(local_rank) % gpus.size(); }
};

struct FabricSpec {
  int nodes_per_leaf = 1;
  int spines = 0;              // 0: one switch joins all
  double port_rate = 0;        // of each leaf's link to each spine, each way
  int nodes_per_zone = 0;      // 0: one zone
  int zone_links = 0;          // between two zones
  double put_overhead_us = 0;  // of each put, before its first byte
  double base_latency_us = 0;  // memory to memory through one switch
  double hop_latency_us = 0;   // of each further switch
};

struct ClusterSpec {
  std::string name;
  int nodes = 1;  // that there are; a job may take fewer
  NodeSpec node;
  FabricSpec fabric;
  // All nodes are one machine and share its memory, sockets and cores; a network costs nothing.
  bool one_machine = false;
};

// Whether all of it fits together; else what does not.
Status check_cluster(const ClusterSpec& cluster);

}  // namespace hfr::sim
