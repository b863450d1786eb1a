// Clusters for tests: small round numbers.
#pragma once

#include "base/config.hpp"
#include "comm/sizing.hpp"
#include "sim/world.hpp"

namespace hfr_tests {

constexpr double kG = 1e9;

// Two sockets, `gpus` GPUs each on a root port of its own, one NIC on the last socket.
inline hfr::sim::ClusterSpec gpu_cluster(int gpus = 8) {
  hfr::sim::ClusterSpec cluster;
  cluster.name = "test";
  auto& node = cluster.node;
  node.sockets = {{100 * kG, 200 * kG, 0}, {100 * kG, 200 * kG, 0}};
  node.socket_link_rate = 100 * kG;
  for (int gpu = 0; gpu < gpus; ++gpu) {
    node.root_ports.push_back({gpu < (gpus + 1) / 2 ? 0 : 1, 20 * kG, 40 * kG});
    node.gpus.push_back({gpu, 20 * kG, 1000 * kG});
  }
  node.root_ports.push_back({1, 20 * kG, 40 * kG});
  node.nics = {{gpus, 10 * kG}};
  cluster.fabric.nodes_per_leaf = 4;
  cluster.fabric.spines = 2;
  cluster.fabric.port_rate = 10 * kG;
  cluster.fabric.base_latency_us = 2;
  cluster.fabric.hop_latency_us = 0.5;
  cluster.fabric.put_overhead_us = 1;
  return cluster;
}

inline hfr::sim::ClusterSpec host_cluster(int ranks) {
  hfr::sim::ClusterSpec cluster;
  cluster.name = "test host";
  cluster.node.sockets = {{40 * kG, 0, size_t{32} << 20}};
  cluster.node.host = {ranks, 2, 10 * kG, 20 * kG, 4 * kG, 4 * kG};
  cluster.fabric.base_latency_us = 10;
  return cluster;
}

inline hfr::sim::WorldSpec world_spec(const hfr::sim::ClusterSpec& cluster, int num_nodes,
                                      const hfr::Config& config = {}) {
  hfr::sim::WorldSpec spec;
  spec.cluster = cluster;
  spec.num_nodes = num_nodes;
  const hfr::Shape shape = hfr::sim::make_world_shape(cluster, num_nodes);
  spec.staging = hfr::size_staging(shape, config);
  spec.limits = hfr::size_limits(shape, spec.staging, config, {.rdma = shape.any_on_device});
  spec.schedules = hfr::make_all_schedules(num_nodes, config);
  return spec;
}

}  // namespace hfr_tests
