// What ranks tell each other at set-up through the rendezvous, as bytes. Who sends them holds the
// secret, but they are checked as a stranger's would be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/net.hpp"
#include "base/status.hpp"
#include "engine/peer_memory.hpp"
#include "topo/gpu_groups.hpp"

namespace hfr {

// What each rank tells the others first.
struct RankInfo {
  std::string node_name;  // equal: shares a node
  std::string process;    // "pid@namespace"
  std::string machine;
  std::string door;
  PeerMemory::Process memory;
  std::string cpus;      // that it may run on: "0-3,8"
  std::string device;    // host, cuda
  int quota = 0;         // of CPUs, by its cgroup; 0: none
  std::string no_rails;  // why it cannot use verbs; empty: it can
  HostPort meeting_point;
};
std::vector<std::byte> encode(const RankInfo& info);
Result<RankInfo> decode_rank_info(std::span<const std::byte> bytes, int rank);

// What a rank says of its GPU and of what its build can do with it.
struct GroupFinding {
  GpuFacts gpu;
  bool has_kernels = false;
};

// What each rank tells the others when its device is open.
struct Findings {
  bool reaches_peers = false;  // their private memory, as was tried
  GroupFinding group;
  uint64_t mates_key = 0;  // GpuMates
};
std::vector<std::byte> encode(const Findings& findings);
Result<Findings> decode_findings(std::span<const std::byte> bytes, int rank);

}  // namespace hfr
