#include "sim/cluster.hpp"

#include "base/text.hpp"

namespace hfr::sim {
namespace {

Status wrong(const std::string& sentence) { return Status(Code::kInvalidArgument, sentence); }

Status check_groups(const NodeSpec& node) {
  std::vector<bool> seen(node.gpus.size(), false);
  for (const auto& group : node.gpu_groups) {
    if (group.size() < 2) return wrong("node.gpu_groups: a group has at least two GPUs");
    for (int gpu : group) {
      if (gpu < 0 || static_cast<size_t>(gpu) >= node.gpus.size()) {
        return wrong(cat("node.gpu_groups: there is no GPU ", gpu, "; the node has 0 to ",
                         node.gpus.size() - 1));
      }
      if (seen[static_cast<size_t>(gpu)]) {
        return wrong(cat("node.gpu_groups: GPU ", gpu, " is named twice"));
      }
      seen[static_cast<size_t>(gpu)] = true;
    }
  }
  if (!node.gpu_groups.empty() && node.gpu_group_rate <= 0) {
    return wrong("node.gpu_groups needs node.gpu_group_gbytes_per_s");
  }
  return Status();
}

Status check_gpus(const NodeSpec& node) {
  const auto num_sockets = static_cast<int>(node.sockets.size());
  const auto num_ports = static_cast<int>(node.root_ports.size());
  for (size_t i = 0; i < node.root_ports.size(); ++i) {
    if (node.root_ports[i].socket < 0 || node.root_ports[i].socket >= num_sockets) {
      return wrong(
          cat("node.root_ports[", i, "].socket: there is no socket ", node.root_ports[i].socket));
    }
  }
  auto check_port = [&](const char* kind, size_t i, int port) {
    if (port >= 0 && port < num_ports) return Status();
    return wrong(cat("node.", kind, "[", i, "].root_port: there is no root port ", port));
  };
  for (size_t i = 0; i < node.gpus.size(); ++i) {
    HFR_RETURN_IF_ERROR(check_port("gpus", i, node.gpus[i].root_port));
  }
  for (size_t i = 0; i < node.nics.size(); ++i) {
    HFR_RETURN_IF_ERROR(check_port("nics", i, node.nics[i].root_port));
  }
  return check_groups(node);
}

}  // namespace

Status check_cluster(const ClusterSpec& cluster) {
  const NodeSpec& node = cluster.node;
  if (node.sockets.empty() || node.sockets.size() > 2)
    return wrong("node.sockets: one or two are needed");
  if (node.sockets.size() == 2 && node.socket_link_rate <= 0)
    return wrong("node.socket_link_gbytes_per_s is needed where there are two sockets");
  if (node.gpus.empty() == (node.host.ranks == 0))
    return wrong("node: either gpus or host is needed, and not both");
  if (node.gpus.size() > 16) return wrong("node.gpus: at most 16");
  if (node.ranks_per_gpu < 1 || node.num_ranks() > 64)
    return wrong("node.ranks_per_gpu: at least 1, and at most 64 ranks on a node");
  if (node.ranks_per_gpu > 1 && !node.gpu_groups.empty())
    return wrong("node.gpu_groups: not with ranks_per_gpu, groups are of different GPUs");
  if (cluster.one_machine && cluster.fabric.spines > 0)
    return wrong("fabric.spines: with one_machine there is no network; leave it out");
  if (node.nics.empty() && node.host.ranks == 0 && cluster.nodes > 1)
    return wrong("node.nics: at least one is needed");
  return check_gpus(node);
}

}  // namespace hfr::sim
