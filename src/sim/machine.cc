#include "sim/machine.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace hfr::sim {
namespace {

bool fits_caches(const NodeSpec& node, size_t staging_bytes) {
  size_t caches = 0;
  for (const SocketSpec& socket : node.sockets) caches += socket.cache_bytes;
  return staging_bytes <= caches;
}

}  // namespace

const char* resource_kind_name(ResourceKind kind) {
  static constexpr std::array<const char*, kNumResourceKinds> kNames = {
      "GPU link",  "root port", "memory",    "socket link", "adding",      "NIC",  "leaf up",
      "leaf down", "zone link", "GPU group", "GPU memory",  "rank thread", "cores"};
  return kNames[static_cast<size_t>(kind)];
}

Machine::Machine(const ClusterSpec& cluster, std::vector<int> hosts, size_t staging_bytes,
                 FlowNetwork& flows)
    : cluster_(cluster),
      hosts_(std::move(hosts)),
      flows_(flows),
      cached_((cluster.node.dma_uses_cache || cluster.node.host.ranks > 0) &&
              fits_caches(cluster.node, staging_bytes)) {
  place_ranks();
  nodes_.resize(hosts_.size());
  for (size_t node = 0; node < hosts_.size(); ++node) {
    if (cluster_.one_machine && node > 0) {
      nodes_[node] = nodes_[0];
      nodes_[node].threads.clear();
      for (int r = 0; r < cluster_.node.num_ranks(); ++r) {
        nodes_[node].threads.push_back(
            make(ResourceKind::kThread, static_cast<int>(node), cat("thread of rank ", r), 1.0));
      }
    } else {
      make_node(static_cast<int>(node));
    }
  }
  if (!cluster_.one_machine) make_fabric();
}

ResourceId Machine::make(ResourceKind kind, int node, const std::string& name, double rate) {
  resources_.push_back({kind, node, name});
  return flows_.add_resource(rate);
}

void Machine::place_ranks() {
  const NodeSpec& node = cluster_.node;
  const auto num_sockets = static_cast<int>(node.sockets.size());
  copies_on_socket_.assign(node.sockets.size(), 0);
  for (int r = 0; r < node.num_ranks(); ++r) {
    const size_t gpu = on_host() ? 0 : node.gpu_of(r);
    const int socket = on_host()
                           ? r * num_sockets / node.num_ranks()
                           : node.root_ports[static_cast<size_t>(node.gpus[gpu].root_port)].socket;
    socket_of_.push_back(socket);
    const bool carried = std::any_of(
        node.gpu_groups.begin(), node.gpu_groups.end(), [&](const std::vector<int>& group) {
          // One of each group on each socket stands for the group there.
          return std::find(group.begin(), group.end(), r) != group.end() &&
                 std::any_of(group.begin(), group.end(), [&](int other) {
                   return other < r &&
                          node.root_ports[static_cast<size_t>(
                                              node.gpus[static_cast<size_t>(other)].root_port)]
                                  .socket == socket;
                 });
        });
    if (!carried) {
      ++copies_on_socket_[static_cast<size_t>(socket)];
      ++num_copies_;
    }
    if (node.nics.empty()) {
      nic_of_.push_back(0);
      home_of_.push_back(socket);
      continue;
    }
    // A NIC of its own socket, the ranks there by turns; else any.
    std::vector<int> near, all;
    for (size_t n = 0; n < node.nics.size(); ++n) {
      const auto port = static_cast<size_t>(node.nics[n].root_port);
      if (node.root_ports[port].socket == socket) near.push_back(static_cast<int>(n));
      all.push_back(static_cast<int>(n));
    }
    const std::vector<int>& choice = near.empty() ? all : near;
    nic_of_.push_back(choice[static_cast<size_t>(r) % choice.size()]);
    const auto port = static_cast<size_t>(node.nics[static_cast<size_t>(nic_of_.back())].root_port);
    home_of_.push_back(node.root_ports[port].socket);
  }
}

void Machine::make_node(int idx) {
  const NodeSpec& spec = cluster_.node;
  Node& node = nodes_[static_cast<size_t>(idx)];
  for (size_t s = 0; s < spec.sockets.size(); ++s) {
    node.memory.push_back(
        make(ResourceKind::kMemory, idx, cat("memory of socket ", s), spec.sockets[s].memory_rate));
    if (!on_host()) {
      node.adding.push_back(
          make(ResourceKind::kAdding, idx, cat("adding of socket ", s), spec.sockets[s].add_rate));
    }
  }
  if (spec.sockets.size() == 2) {
    for (size_t s = 0; s < 2; ++s) {
      node.socket_link[s] = make(ResourceKind::kSocketLink, idx, cat("socket ", s, " to ", 1 - s),
                                 spec.socket_link_rate);
    }
  }
  if (on_host()) {
    node.cores = make(ResourceKind::kCores, idx, "cores", spec.host.cores);
    for (int r = 0; r < spec.host.ranks; ++r) {
      node.threads.push_back(make(ResourceKind::kThread, idx, cat("thread of rank ", r), 1.0));
    }
    return;
  }
  for (size_t p = 0; p < spec.root_ports.size(); ++p) {
    const RootPortSpec& port = spec.root_ports[p];
    auto one = [&](const char* way, double rate) {
      return make(ResourceKind::kRootPort, idx, cat("root port ", p, way), rate);
    };
    node.ports.push_back({one(" in", port.each_way_rate), one(" out", port.each_way_rate),
                          one(" both ways", port.both_ways_rate)});
  }
  auto link = [&](ResourceKind kind, const std::string& name, double rate) {
    return Link{make(kind, idx, name + " to host", rate),
                make(kind, idx, name + " from host", rate)};
  };
  for (size_t g = 0; g < spec.gpus.size(); ++g) {
    node.gpus.push_back(link(ResourceKind::kGpuLink, cat("GPU ", g), spec.gpus[g].each_way_rate));
    if (spec.gpu_groups.empty()) continue;
    node.group_out.push_back(
        make(ResourceKind::kGpuGroup, idx, cat("NVLink of GPU ", g, " out"), spec.gpu_group_rate));
    node.group_in.push_back(
        make(ResourceKind::kGpuGroup, idx, cat("NVLink of GPU ", g, " in"), spec.gpu_group_rate));
    node.gpu_memory.push_back(
        make(ResourceKind::kGpuMemory, idx, cat("memory of GPU ", g), spec.gpus[g].memory_rate));
  }
  for (size_t n = 0; n < spec.nics.size(); ++n) {
    node.nics.push_back(link(ResourceKind::kNic, cat("NIC ", n), spec.nics[n].each_way_rate));
  }
}

void Machine::make_fabric() {
  const FabricSpec& fabric = cluster_.fabric;
  const int top = *std::max_element(hosts_.begin(), hosts_.end());
  leaves_per_rail_ = top / fabric.nodes_per_leaf + 1;
  if (fabric.spines > 0) {
    const size_t leaves =
        static_cast<size_t>(leaves_per_rail_) * std::max(cluster_.node.nics.size(), size_t{1});
    for (size_t l = 0; l < leaves; ++l) {
      leaf_up_.emplace_back();
      leaf_down_.emplace_back();
      for (int s = 0; s < fabric.spines; ++s) {
        leaf_up_.back().push_back(
            make(ResourceKind::kLeafUp, -1, cat("leaf ", l, " to spine ", s), fabric.port_rate));
        leaf_down_.back().push_back(
            make(ResourceKind::kLeafDown, -1, cat("spine ", s, " to leaf ", l), fabric.port_rate));
      }
    }
  }
  if (fabric.nodes_per_zone == 0) return;
  for (int zone = 0; zone <= top / fabric.nodes_per_zone; ++zone) {
    const double rate = fabric.zone_links * fabric.port_rate;
    zone_out_.push_back(make(ResourceKind::kZoneLink, -1, cat("out of zone ", zone), rate));
    zone_in_.push_back(make(ResourceKind::kZoneLink, -1, cat("into zone ", zone), rate));
  }
}

void Machine::through_port(Path& path, const Node& node, int port, bool to_host) const {
  const Port& p = node.ports[static_cast<size_t>(port)];
  path.use(to_host ? p.to_host : p.to_device, 1);
  path.use(p.both, 1);
}

void Machine::through_gpu(Path& path, const Node& node, int gpu, bool to_host) const {
  const Link& link = node.gpus[static_cast<size_t>(gpu)];
  path.use(to_host ? link.to_host : link.to_device, 1);
  through_port(path, node, cluster_.node.gpus[static_cast<size_t>(gpu)].root_port, to_host);
}

void Machine::through_nic(Path& path, const Node& node, int nic, bool to_host) const {
  const Link& link = node.nics[static_cast<size_t>(nic)];
  path.use(to_host ? link.to_host : link.to_device, 1);
  through_port(path, node, cluster_.node.nics[static_cast<size_t>(nic)].root_port, to_host);
}

void Machine::through_socket(Path& path, const Node& node, int socket, int from, bool writes,
                             double cost) const {
  path.use(node.memory[static_cast<size_t>(socket)], cached_ ? 0 : cost);
  if (socket != from) path.use(node.socket_link[static_cast<size_t>(writes ? from : socket)], cost);
}

void Machine::through_all(Path& path, const Node& node, int from, bool writes, double cost) const {
  const auto num_sockets = static_cast<int>(node.memory.size());
  for (int s = 0; s < num_sockets; ++s)
    through_socket(path, node, s, from, writes, cost / num_sockets);
}

void Machine::read_inputs(Path& path, const Node& node, int from, double cost) const {
  if (!cluster_.node.inputs_near_gpu) return through_all(path, node, from, false, cost);
  for (size_t s = 0; s < node.memory.size(); ++s) {
    through_socket(path, node, static_cast<int>(s), from, false,
                   cost * copies_on_socket_[s] / num_copies_);
  }
}

void Machine::through_home(Path& path, const Node& node, int home, int from, bool writes,
                           double cost) const {
  if (!cluster_.node.results_near_nic) return through_all(path, node, from, writes, cost);
  through_socket(path, node, home, from, writes, cost);
}

void Machine::on_thread(Path& path, const Node& node, int local_rank, double rate) const {
  path.use(node.threads[static_cast<size_t>(local_rank)], 1 / rate);
  path.use(node.cores, 1 / rate);
}

Path Machine::copy_in(int node_idx, int local_rank) const {
  Path path;
  const Node& node = node_at(node_idx);
  const int socket = socket_of(local_rank);
  if (on_host()) {
    on_thread(path, node, local_rank, cluster_.node.host.rates.copy);
    path.use(node.memory[static_cast<size_t>(socket)], 1);
  } else {
    through_gpu(path, node, static_cast<int>(cluster_.node.gpu_of(local_rank)), true);
  }
  if (cluster_.node.inputs_near_gpu) {
    through_socket(path, node, socket, socket, true, 1);
  } else {
    through_all(path, node, socket, true, 1);
  }
  return path;
}

Path Machine::copy_out(int node_idx, int local_rank, int owner) const {
  Path path;
  const Node& node = node_at(node_idx);
  const int socket = socket_of(local_rank);
  double reads = 1;
  if (on_host()) {
    on_thread(path, node, local_rank, cluster_.node.host.rates.copy);
    path.use(node.memory[static_cast<size_t>(socket)], 1);
  } else {
    through_gpu(path, node, static_cast<int>(cluster_.node.gpu_of(local_rank)), false);
    if (cluster_.node.copy_out_reads_once) reads /= copies_on_socket_[static_cast<size_t>(socket)];
  }
  through_home(path, node, home_of(owner), socket, false, reads);
  return path;
}

Path Machine::group_copy(int node_idx, int from, int to) const {
  Path path;
  const Node& node = node_at(node_idx);
  if (from != to) {
    path.use(node.group_out[static_cast<size_t>(from)], 1);
    path.use(node.group_in[static_cast<size_t>(to)], 1);
  }
  path.use(node.gpu_memory[static_cast<size_t>(from)], 1);
  path.use(node.gpu_memory[static_cast<size_t>(to)], 1);
  return path;
}

Path Machine::group_add(int node_idx, int local_rank, int num_srcs) const {
  Path path;
  path.use(node_at(node_idx).gpu_memory[static_cast<size_t>(local_rank)], num_srcs + 1);
  return path;
}

Path Machine::add(int node_idx, int owner, int num_inputs, int num_others) const {
  Path path;
  const Node& node = node_at(node_idx);
  const int home = home_of(owner);
  const int num_srcs = num_inputs + num_others;
  if (on_host()) {
    on_thread(path, node, owner, cluster_.node.host.rates.add / num_srcs);
    read_inputs(path, node, socket_of(owner), num_inputs);
    through_home(path, node, home, socket_of(owner), false, num_others + 1);
    return path;
  }
  // The sockets' threads share each sum.
  const auto num_sockets = static_cast<double>(node.memory.size());
  for (size_t s = 0; s < node.memory.size(); ++s) {
    const auto from = static_cast<int>(s);
    path.use(node.adding[s], num_srcs / num_sockets);
    read_inputs(path, node, from, num_inputs / num_sockets);
    through_home(path, node, home, from, false, num_others / num_sockets);
    through_home(path, node, home, from, true, 1 / num_sockets);
  }
  return path;
}

double Machine::add_seconds_per_byte(int num_srcs) const {
  // A thread of its own gets what one of 16 cores of a socket adds.
  constexpr double kCores = 16;
  const NodeSpec& node = cluster_.node;
  return num_srcs / (on_host() ? node.host.rates.add : node.sockets[0].add_rate / kCores);
}

int Machine::leaf(int nic, int host) const {
  return nic * leaves_per_rail_ + host / cluster_.fabric.nodes_per_leaf;
}

void Machine::through_fabric(Path& path, int nic, int node, int to_node) const {
  const FabricSpec& fabric = cluster_.fabric;
  const int from = hosts_[static_cast<size_t>(node)];
  const int to = hosts_[static_cast<size_t>(to_node)];
  if (fabric.spines == 0 || leaf(nic, from) == leaf(nic, to)) return;
  // Static: the destination says which spine.
  const auto spine = static_cast<size_t>(to % fabric.spines);
  path.use(leaf_up_[static_cast<size_t>(leaf(nic, from))][spine], 1);
  path.use(leaf_down_[static_cast<size_t>(leaf(nic, to))][spine], 1);
  if (fabric.nodes_per_zone == 0) return;
  const auto zone = static_cast<size_t>(from / fabric.nodes_per_zone);
  const auto to_zone = static_cast<size_t>(to / fabric.nodes_per_zone);
  if (zone == to_zone) return;
  path.use(zone_out_[zone], 1);
  path.use(zone_in_[to_zone], 1);
}

Path Machine::put(int node_idx, int owner, int to_node, int to_owner) const {
  Path path;
  const Node& from = node_at(node_idx);
  const Node& to = node_at(to_node);
  if (on_host()) {
    on_thread(path, from, owner, cluster_.node.host.rates.send);
    on_thread(path, to, to_owner, cluster_.node.host.rates.receive);
    through_home(path, from, home_of(owner), socket_of(owner), false, 1);
    through_home(path, to, home_of(to_owner), socket_of(to_owner), true, 1);
    return path;
  }
  const int nic = nic_of(owner);
  through_home(path, from, home_of(owner), home_of(owner), false, 1);
  through_nic(path, from, nic, false);
  through_fabric(path, nic, node_idx, to_node);
  through_nic(path, to, nic_of(to_owner), true);
  through_home(path, to, home_of(to_owner), home_of(to_owner), true, 1);
  return path;
}

SimTime Machine::put_latency(int node, int to_node) const {
  const FabricSpec& fabric = cluster_.fabric;
  const int from = hosts_[static_cast<size_t>(node)];
  const int to = hosts_[static_cast<size_t>(to_node)];
  double us = fabric.base_latency_us;
  if (fabric.spines > 0 && from / fabric.nodes_per_leaf != to / fabric.nodes_per_leaf) {
    us += 2 * fabric.hop_latency_us;
    if (fabric.nodes_per_zone > 0 && from / fabric.nodes_per_zone != to / fabric.nodes_per_zone)
      us += fabric.hop_latency_us;
  }
  return from_us(us);
}

Path Machine::peer_copy(int node_idx, int from, int to) const {
  Path path;
  const Node& node = node_at(node_idx);
  through_gpu(path, node, from, true);
  through_gpu(path, node, to, false);
  const int a = socket_of(from);
  if (a != socket_of(to)) path.use(node.socket_link[static_cast<size_t>(a)], 1);
  return path;
}

Path Machine::gpu_put(int node_idx, int gpu, int to_node, int to_gpu) const {
  Path path;
  const Node& from = node_at(node_idx);
  const Node& to = node_at(to_node);
  through_gpu(path, from, gpu, true);
  through_nic(path, from, nic_of(gpu), false);
  through_fabric(path, nic_of(gpu), node_idx, to_node);
  through_nic(path, to, nic_of(to_gpu), true);
  through_gpu(path, to, to_gpu, false);
  if (home_of(gpu) != socket_of(gpu))
    path.use(from.socket_link[static_cast<size_t>(socket_of(gpu))], 1);
  if (home_of(to_gpu) != socket_of(to_gpu))
    path.use(to.socket_link[static_cast<size_t>(home_of(to_gpu))], 1);
  return path;
}

ResourceId Machine::gpu_link(int node, int local_rank, bool to_host) const {
  const Node& n = node_at(node);
  if (on_host()) return n.threads[static_cast<size_t>(local_rank)];
  const Link& link = n.gpus[cluster_.node.gpu_of(local_rank)];
  return to_host ? link.to_host : link.to_device;
}

}  // namespace hfr::sim
