// Machine: a cluster as resources, and which of them each piece of work uses. docs/simulator.md has
// the accounting; this is its only place in the code.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "sim/cluster.hpp"
#include "sim/flows.hpp"

namespace hfr::sim {

enum class ResourceKind : uint8_t {
  kGpuLink,
  kRootPort,
  kMemory,
  kSocketLink,
  kAdding,
  kNic,
  kLeafUp,
  kLeafDown,
  kZoneLink,
  kGpuGroup,
  kGpuMemory,
  kThread,
  kCores,
};
constexpr size_t kNumResourceKinds = 13;
const char* resource_kind_name(ResourceKind kind);

// What one piece of work uses.
class Path {
 public:
  void use(ResourceId resource, double cost) {
    if (cost > 0) uses_[size_++] = {resource, cost};
  }
  std::span<const Use> uses() const { return {uses_.data(), size_}; }

 private:
  std::array<Use, 2 * FlowNetwork::kMaxUses> uses_;
  size_t size_ = 0;
};

class Machine {
 public:
  // `hosts[node]`: where in the fabric node `node` of the job is. `staging_bytes`: of a node.
  Machine(const ClusterSpec& cluster, std::vector<int> hosts, size_t staging_bytes,
          FlowNetwork& flows);

  const ClusterSpec& cluster() const { return cluster_; }
  bool on_host() const { return cluster_.node.host.ranks > 0; }

  // Device to staging and back. `owner`: local rank that owns the lane.
  Path copy_in(int node, int local_rank) const;
  Path copy_out(int node, int local_rank, int owner) const;
  // In a group of GPUs: from one member to another; and adding `num_srcs` inputs.
  Path group_copy(int node, int from, int to) const;
  Path group_add(int node, int local_rank, int num_srcs) const;
  // Adding `num_inputs` input slots and `num_others` sums and partial sums, for each byte of
  // result.
  Path add(int node, int owner, int num_inputs, int num_others) const;
  // The same on the rank's own thread: seconds for each byte of result.
  double add_seconds_per_byte(int num_srcs) const;
  Path put(int node, int owner, int to_node, int to_owner) const;
  SimTime put_latency(int node, int to_node) const;

  // Only what NCCL's model needs beside put().
  Path peer_copy(int node, int from, int to) const;
  Path gpu_put(int node, int gpu, int to_node, int to_gpu) const;

  struct Resource {
    ResourceKind kind;
    int node;  // -1: of the fabric
    std::string name;
  };
  const std::vector<Resource>& resources() const { return resources_; }
  // For faults: of a rank's GPU, or host rank's thread.
  ResourceId gpu_link(int node, int local_rank, bool to_host) const;

  int nic_of(int local_rank) const { return nic_of_[static_cast<size_t>(local_rank)]; }

 private:
  struct Port {
    ResourceId to_host, to_device, both;
  };
  struct Link {
    ResourceId to_host, to_device;
  };
  struct Node {
    std::vector<ResourceId> memory, adding, threads;
    std::array<ResourceId, 2> socket_link;  // from socket i to the other
    ResourceId cores = 0;
    std::vector<Port> ports;
    std::vector<Link> gpus, nics;
    std::vector<ResourceId> group_out, group_in, gpu_memory;
  };

  ResourceId make(ResourceKind kind, int node, const std::string& name, double rate);
  void make_node(int node);
  void make_fabric();
  void place_ranks();
  const Node& node_at(int node) const { return nodes_[static_cast<size_t>(node)]; }
  int socket_of(int local_rank) const { return socket_of_[static_cast<size_t>(local_rank)]; }
  int home_of(int owner) const { return home_of_[static_cast<size_t>(owner)]; }
  void through_port(Path& path, const Node& node, int port, bool to_host) const;
  void through_gpu(Path& path, const Node& node, int gpu, bool to_host) const;
  void through_nic(Path& path, const Node& node, int nic, bool to_host) const;
  // Memory of one socket; of all, interleaved; and that of input slots and of results, which may be
  // placed. `from`: the socket of who reads or writes.
  void through_socket(Path& path, const Node& node, int socket, int from, bool writes,
                      double cost) const;
  void through_all(Path& path, const Node& node, int from, bool writes, double cost) const;
  void read_inputs(Path& path, const Node& node, int from, double cost) const;
  void through_home(Path& path, const Node& node, int home, int from, bool writes,
                    double cost) const;
  void through_fabric(Path& path, int nic, int node, int to_node) const;
  void on_thread(Path& path, const Node& node, int local_rank, double rate) const;
  int leaf(int nic, int host) const;

  const ClusterSpec& cluster_;
  const std::vector<int> hosts_;
  FlowNetwork& flows_;
  const bool cached_;  // staging stays in the last caches
  std::vector<Resource> resources_;
  std::vector<Node> nodes_;
  std::vector<int> socket_of_;         // by local rank
  std::vector<int> nic_of_;            // by local rank
  std::vector<int> home_of_;           // by owner: the socket with its result and child slots
  std::vector<int> copies_on_socket_;  // of a chunk: one for each GPU there, or group of GPUs
  int num_copies_ = 0;
  std::vector<std::vector<ResourceId>> leaf_up_, leaf_down_;  // by leaf, by spine
  std::vector<ResourceId> zone_out_, zone_in_;
  int leaves_per_rail_ = 1;
};

}  // namespace hfr::sim
