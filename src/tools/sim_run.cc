#include "tools/sim_run.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <random>

#include "base/config.hpp"
#include "base/text.hpp"
#include "comm/sizing.hpp"
#include "sim/nccl_model.hpp"
#include "tools/perf_numbers.hpp"

namespace hfr::tools {
namespace {

constexpr int kMostGpus = 100'000;

Result<int> parse_count(std::string_view text) {
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > kMostGpus) {
    return Status(Code::kInvalidArgument, cat("--gpus: '", text, "' is no number from 1 to ",
                                              kMostGpus, "; write 16, 16,32,64 or 16..1440"));
  }
  return count;
}

// Where in the fabric the job's nodes are.
std::vector<int> choose_hosts(const SimRequest& request, int num_nodes) {
  std::vector<int> hosts(static_cast<size_t>(request.cluster.nodes));
  std::iota(hosts.begin(), hosts.end(), 0);
  if (request.scatter_seed != 0) {
    // Written out: the standard's shuffle may differ between libraries.
    std::mt19937_64 random(request.scatter_seed);
    for (size_t i = hosts.size(); i > 1; --i) std::swap(hosts[i - 1], hosts[random() % i]);
  }
  hosts.resize(static_cast<size_t>(num_nodes));
  return hosts;
}

Status check(const SimRequest& request, int per_node) {
  const auto wrong = [](const std::string& what) { return Status(Code::kInvalidArgument, what); };
  if (request.num_gpus % per_node != 0) {
    return wrong(
        cat("--gpus: ", request.num_gpus, " is no multiple of the ", per_node, " that a node has"));
  }
  if (request.num_gpus / per_node > request.cluster.nodes) {
    return wrong(cat("--gpus: ", request.num_gpus, " are more than the ",
                     request.cluster.nodes * per_node, " of this cluster"));
  }
  if (request.bytes % (sizeof(float) * static_cast<size_t>(request.num_tensors)) != 0 ||
      request.bytes == 0) {
    return wrong(cat("--size: ", request.bytes, " bytes are no whole number of float32 in each of ",
                     request.num_tensors, " tensors"));
  }
  return Status();
}

// Buffers that stay in the caches: inputs and results of all ranks that share them fill a quarter
// at most, as staging and the kernel's own are there as well.
void choose_core_rates(const SimRequest& request, int num_nodes, sim::NodeSpec& node) {
  if (!node.host.cached) return;
  size_t caches = 0;
  for (const sim::SocketSpec& socket : node.sockets) caches += socket.cache_bytes;
  const int num_ranks = node.num_ranks() * (request.cluster.one_machine ? num_nodes : 1);
  if (2 * request.bytes * static_cast<size_t>(num_ranks) <= caches / 4)
    node.host.rates = *node.host.cached;
}

void fill_utilisation(const sim::World& world, SimPoint& point) {
  point.utilisation.fill(-1);
  double most = 0;
  const auto& resources = world.machine().resources();
  for (sim::ResourceId id = 0; id < resources.size(); ++id) {
    const double share = world.flows().used(id) / (world.flows().capacity(id) * point.seconds);
    double& kind = point.utilisation[static_cast<size_t>(resources[id].kind)];
    kind = std::max(kind, share);
    if (share <= most) continue;
    most = share;
    point.limiter = resources[id].name;
  }
}

}  // namespace

Result<std::vector<int>> parse_gpu_counts(const std::string& text) {
  std::vector<int> counts;
  if (const size_t dots = text.find(".."); dots != std::string::npos) {
    HFR_ASSIGN_OR_RETURN(int first, parse_count(std::string_view(text).substr(0, dots)));
    HFR_ASSIGN_OR_RETURN(const int last, parse_count(std::string_view(text).substr(dots + 2)));
    if (first > last) {
      return Status(Code::kInvalidArgument, cat("--gpus: ", first, " is more than ", last));
    }
    for (; first < last; first *= 2) counts.push_back(first);
    counts.push_back(last);
    return counts;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    HFR_ASSIGN_OR_RETURN(const int count,
                         parse_count(std::string_view(text).substr(begin, end - begin)));
    counts.push_back(count);
    begin = end + 1;
  }
  return counts;
}

Result<SimPoint> simulate(const SimRequest& request, sim::SpanLog* log, const SimReport& report) {
  const int per_node = request.cluster.node.num_ranks();
  HFR_RETURN_IF_ERROR(check(request, per_node));
  HFR_ASSIGN_OR_RETURN(const Config config, load_config(process_environment()));
  const int num_nodes = request.num_gpus / per_node;
  const Shape shape = sim::make_world_shape(request.cluster, num_nodes);

  sim::WorldSpec spec;
  spec.cluster = request.cluster;
  choose_core_rates(request, num_nodes, spec.cluster.node);
  spec.num_nodes = num_nodes;
  spec.hosts = choose_hosts(request, num_nodes);
  spec.staging = size_staging(shape, config);
  spec.limits = size_limits(shape, spec.staging, config, {.rdma = shape.any_on_device});
  spec.schedules = make_all_schedules(num_nodes, config);
  spec.use_groups = !request.cluster.node.gpu_groups.empty();
  HFR_ASSIGN_OR_RETURN(const auto buffer, sim::ReservedMemory::create(request.bytes));
  const auto num_tensors = static_cast<size_t>(request.num_tensors);
  const size_t tensor_bytes = request.bytes / num_tensors;
  auto describe = [&](int, size_t tensor) {
    std::byte* at = buffer.data() + tensor * tensor_bytes;
    return OpDescriptor{.send = at, .recv = at, .count = tensor_bytes / sizeof(float)};
  };
  // With faults the trace is the second run's.
  spec.log = request.faults.empty() ? log : nullptr;
  HFR_ASSIGN_OR_RETURN(auto world, sim::World::create(spec));
  HFR_RETURN_IF_ERROR(world->run(num_tensors, describe, report));

  SimPoint point;
  point.num_gpus = request.num_gpus;
  point.num_nodes = num_nodes;
  point.bytes = request.bytes;
  point.seconds = sim::seconds(world->duration());
  point.algbw = algorithm_bandwidth(request.bytes, point.seconds);
  point.busbw = bus_bandwidth(request.bytes, point.seconds, request.num_gpus);
  point.chunk_bytes = spec.staging.slot_bytes;
  point.num_events = world->num_events();
  fill_utilisation(*world, point);
  if (!request.cluster.node.gpus.empty() && request.cluster.node.ranks_per_gpu == 1 &&
      request.num_gpus > 1) {
    const auto ring = sim::estimate_nccl_ring(request.cluster, spec.hosts, request.bytes);
    const auto tree = sim::estimate_nccl_tree(request.cluster, spec.hosts, request.bytes);
    point.nccl_ring_algbw = algorithm_bandwidth(request.bytes, ring.seconds);
    point.nccl_tree_algbw = algorithm_bandwidth(request.bytes, tree.seconds);
  }
  if (request.faults.empty()) return point;
  point.faults = place_faults(request.faults, request.fault_seed, num_nodes, request.num_gpus,
                              world->duration());
  world.reset();  // its memory
  spec.faults = point.faults;
  spec.log = log;
  HFR_ASSIGN_OR_RETURN(world, sim::World::create(spec));
  HFR_RETURN_IF_ERROR(world->run(num_tensors, describe));
  point.endings = world->endings();
  return point;
}

}  // namespace hfr::tools
