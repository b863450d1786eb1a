#include "sim/nccl_model.hpp"

#include <algorithm>
#include <cmath>

#include "sim/machine.hpp"
#include "topo/tree.hpp"

namespace hfr::sim {
namespace {

// NCCL's own figures for its Simple protocol (src/graph/tuning.cc, hwLat), microseconds a step.
constexpr double kRingPciUs = 5.7;
constexpr double kTreePciUs = 4.0;
constexpr double kNetUs = 14.0;

// Adds up what each byte of the message uses of each resource.
class Load {
 public:
  Load(const ClusterSpec& cluster, const std::vector<int>& hosts)
      : cluster_(cluster), machine_(cluster, hosts, SIZE_MAX, flows_) {
    used_.assign(flows_.num_resources(), 0);
  }

  // GPU `from` sends `times` the message to GPU `to`, on its own node or another.
  void send(int node, int from, int to_node, int to, double times) {
    if (node != to_node) return add(machine_.gpu_put(node, from, to_node, to), times, true);
    for (const auto& group : cluster_.node.gpu_groups) {
      auto has = [&](int gpu) { return std::find(group.begin(), group.end(), gpu) != group.end(); };
      if (has(from) && has(to)) return add(machine_.group_copy(node, from, to), times, false);
    }
    add(machine_.peer_copy(node, from, to), times, true);
  }

  NcclEstimate estimate(size_t bytes, double latency_us) const {
    double per_byte = 0;
    NcclEstimate result;
    for (ResourceId id = 0; id < used_.size(); ++id) {
      const double time = used_[id] / flows_.capacity(id);
      if (time <= per_byte) continue;
      per_byte = time;
      result.limiter = resource_kind_name(machine_.resources()[id].kind);
    }
    if (most_by_peer_ > 0 && cluster_.node.gpu_peer_rate > 0 &&
        most_by_peer_ / cluster_.node.gpu_peer_rate > per_byte) {
      per_byte = most_by_peer_ / cluster_.node.gpu_peer_rate;
      result.limiter = "peer to peer";
    }
    result.seconds = per_byte * static_cast<double>(bytes) + latency_us * 1e-6;
    return result;
  }

 private:
  void add(const Path& path, double times, bool by_peer) {
    for (const Use& use : path.uses()) used_[use.resource] += use.cost * times;
    if (by_peer) most_by_peer_ = std::max(most_by_peer_, times);
  }

  const ClusterSpec& cluster_;
  FlowNetwork flows_;
  Machine machine_;
  std::vector<double> used_;
  double most_by_peer_ = 0;  // of the message, from one device to another
};

// Where a node's chain of GPUs meets the network: the GPU nearest to a NIC, by socket.
int gateway(const NodeSpec& node) {
  const auto& ports = node.root_ports;
  const int socket = ports[static_cast<size_t>(node.nics[0].root_port)].socket;
  for (size_t gpu = 0; gpu < node.gpus.size(); ++gpu) {
    if (ports[static_cast<size_t>(node.gpus[gpu].root_port)].socket == socket)
      return static_cast<int>(gpu);
  }
  return 0;
}

}  // namespace

NcclEstimate estimate_nccl_ring(const ClusterSpec& cluster, const std::vector<int>& hosts,
                                size_t bytes) {
  const auto num_nodes = static_cast<int>(hosts.size());
  const auto gpus = static_cast<int>(cluster.node.gpus.size());
  const int n = num_nodes * gpus;
  if (n == 1) return {};
  Load load(cluster, hosts);
  const double times = 2.0 * (n - 1) / n;
  // As many rings as there are NICs; ring r leaves each node at GPU r's place and enters one
  // further.
  const int rings = std::max(static_cast<int>(cluster.node.nics.size()), 1);
  for (int ring = 0; ring < rings; ++ring) {
    for (int node = 0; node < num_nodes; ++node) {
      for (int i = 0; i < gpus; ++i) {
        const int from = (ring + i) % gpus;
        const int to = (ring + i + 1) % gpus;
        const bool leaves = i == gpus - 1 && num_nodes > 1;
        load.send(node, from, leaves ? (node + 1) % num_nodes : node, to, times / rings);
      }
    }
  }
  const int net_steps = num_nodes > 1 ? 2 * num_nodes : 0;
  const int pci_steps = 2 * (n - 1) - net_steps;
  return load.estimate(bytes, pci_steps * kRingPciUs + net_steps * kNetUs);
}

NcclEstimate estimate_nccl_tree(const ClusterSpec& cluster, const std::vector<int>& hosts,
                                size_t bytes) {
  const auto num_nodes = static_cast<int>(hosts.size());
  const auto gpus = static_cast<int>(cluster.node.gpus.size());
  if (num_nodes * gpus == 1) return {};
  Load load(cluster, hosts);
  const int gate = gateway(cluster.node);
  // Inside a node a chain that ends at the gateway, up and down.
  std::vector<int> chain(static_cast<size_t>(gpus));
  for (int i = 0; i < gpus; ++i) chain[static_cast<size_t>(i)] = (gate + i) % gpus;
  const Forest forest = double_binary_tree(num_nodes);
  int depth = 0;
  for (int node = 0; node < num_nodes; ++node) {
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      load.send(node, chain[i + 1], node, chain[i], 1);
      load.send(node, chain[i], node, chain[i + 1], 1);
    }
    for (const Tree& tree : forest) {
      const int parent = tree.parent[static_cast<size_t>(node)];
      depth = std::max(depth, tree.depth());
      if (parent < 0) continue;
      const double share = 1.0 / static_cast<double>(forest.size());
      load.send(node, gate, parent, gate, share);
      load.send(parent, gate, node, gate, share);
    }
  }
  return load.estimate(bytes, 2 * ((gpus - 1) * kTreePciUs + depth * kNetUs));
}

}  // namespace hfr::sim
