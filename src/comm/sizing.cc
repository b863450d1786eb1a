#include "comm/sizing.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>

#include "reduce/task_board.hpp"

namespace hfr {
namespace {

// Inside a node: small chunks keep staging in an L2 cache while the user's buffers are in one too;
// past that, larger ones save hand-overs.
constexpr size_t kNodeChunkBytes = size_t{256} << 10;
constexpr size_t kFineChunkBytes = size_t{128} << 10;
constexpr size_t kFineUntilBytes = size_t{32} << 20;
constexpr size_t kMinChunkBytes = size_t{16} << 10;
constexpr size_t kWireChunkBytes = size_t{512} << 10;  // sends of this size move fastest over TCP
// Up to here nodes exchange whole messages: fewer hops than a tree for more bytes. Measured over
// TCP with 2 to 4 nodes; with more, each further round costs another message.
constexpr size_t kButterflyBytes = size_t{16} << 10;
constexpr size_t kFewNodesButterflyBytes = size_t{128} << 10;
constexpr int kFewNodes = 4;
// Two nodes of one rank send as much in one exchange as up and down a tree, with half the messages
// one after the other; what they add twice costs more only past this.
constexpr size_t kPairButterflyBytes = size_t{512} << 10;
// Every rank of a node reads every other's message on the flat path: fewer bytes the more ranks.
constexpr size_t kFlatBytesTimesRanks = size_t{128} << 10;
// Where each meeting costs changes of context, one of them is worth twice the bytes.
constexpr size_t kCrowdedFlatBytesTimesRanks = size_t{256} << 10;
// Two copies through a bounce take less than the first chunk's way on the lanes.
constexpr size_t kDeviceFlatBytesTimesRanks = size_t{512} << 10;
constexpr size_t kMinFlatBytes = size_t{4} << 10;
constexpr size_t kMaxFlatBytes = size_t{64} << 10;
constexpr size_t kPublishBytes = 1024;
// Where buffers can be touched directly, reading each input once and writing each result once is
// soon better.
constexpr size_t kFlatWhereReached = 4;  // divides the flat path's limit
// Below, one system call was cheaper than meeting over staging on every processor tried.
constexpr size_t kLearnFromBytes = size_t{128} << 10;
// The blocks of all ranks that are pulled together fit half an L2 cache.
constexpr size_t kPeerBlocksBytes = size_t{1} << 20;
// Where the processor does not say how large its last cache is.
constexpr size_t kUsualCacheBytes = size_t{64} << 20;
constexpr size_t kStagingBudget = size_t{128} << 20;  // of a node, whatever its ranks
// A batch of copies costs the link so much beside its bytes that it wants to be large; a chunk,
// which takes one copy of each rank, delays the last copy-out by its whole time (docs/cuda.md).
constexpr size_t kDeviceChunkBytes = size_t{4} << 20;
// Where each GPU has a link of its own the machine's memory is what they share. Chunks of this size
// are read while they are still in the last cache, and two in one batch cost what one does; lanes
// that are used again later are no longer in the caches of the cores that added there, which a
// copy to them would have to ask (docs/cuda.md).
constexpr size_t kOwnGpuChunkBytes = size_t{2} << 20;
constexpr int kOwnGpuWindow = 16;
constexpr uint64_t kOwnGpuChunksTogether = 2;
// What copies bring may take so much of the last cache until it is added. Once it does not fit what
// the cache gives to devices, everything goes through memory, and with adds that are slower for it
// stays behind to the end (docs/cuda.md).
constexpr size_t kAheadBytes = size_t{48} << 20;
constexpr uint64_t kLeastAhead = 4;  // chunks, so that adds never wait for the next one
// Threads that add what one link brings; and those that add what several links bring, of a machine.
constexpr int kMostAddThreads = 4;
constexpr int kOwnGpuAddThreads = 16;
constexpr size_t kManyRanksChunkBytes = size_t{2} << 20;
constexpr int kManyRanks = 5;
constexpr int kManyRanksLanes = 3;  // per rank
// Past two nodes a chunk's way up and down the trees is long, and every node on it waits for all of
// the chunk: smaller ones are sooner there, and more of them must be on their way at once. By the
// simulator (docs/simulator.md).
constexpr int kShallowNodes = 2;
constexpr size_t kDeepChunkBytes = size_t{1} << 20;
constexpr int kDeepWindow = 48;
// A link of 200 Gb/s, and what a chunk takes from node to node beside its bytes: mostly waiting
// behind others. The pair that misled the choice of forest least on simulated clusters
// (docs/schedules.md).
constexpr double kDeviceLinkBytesPerNs = 25;
constexpr double kDeviceHopNs = 150'000;
constexpr size_t kMinDeviceChunkBytes = size_t{512} << 10;
constexpr size_t kDeviceStagingBudget = size_t{768} << 20;
// Below, a group's further steps cost more than its fewer bytes save. Over NVLink; where ranks that
// share a GPU play a group, 1 MiB.
constexpr size_t kGroupFromBytes = size_t{256} << 10;
// Inside a group a chunk is pushed, added and pulled in steps that cost more than 512 KiB take.
constexpr size_t kGroupChunkBytes = size_t{1} << 20;
constexpr size_t kDeviceStreamingBytes = size_t{32} << 20;
// An add that reads no more than this is done before another thread would have begun it.
constexpr size_t kRunHereBytes = size_t{128} << 10;
constexpr int kLanesPerRank = 2;
constexpr int kMinWindow = 8;

// Chunks take lanes and trees in turn: a window that is a multiple of every forest's number of
// trees keeps each lane to one tree.
int trees_multiple(int num_nodes) {
  if (num_nodes == 1) return 1;
  int ring = num_nodes <= kMaxRingNodes ? num_nodes : 1;
  return std::lcm(2, ring);
}

// One node of ranks that have a GPU each.
bool has_own_gpus(const Shape& shape) {
  return shape.own_gpus && shape.num_nodes() == 1 && shape.num_local() > 1;
}

// Shrinks what the user did not set until staging fits its budget: chunks first, then lanes. The
// same on all nodes, as it looks at the largest.
void fit_budget(const Shape& shape, const Config& config, StagingShape& staging) {
  const int children = shape.any_on_device && shape.num_nodes() == 1 ? 0 : kMaxChildren;
  const auto slots = static_cast<size_t>(shape.max_local() + 1 + children);
  const size_t budget = shape.any_on_device ? kDeviceStagingBudget : kStagingBudget;
  auto too_large = [&] {
    return static_cast<size_t>(staging.window) * slots * staging.slot_bytes > budget;
  };
  while (config.chunk_bytes == 0 && too_large() && staging.slot_bytes > kMinChunkBytes)
    staging.slot_bytes /= 2;
  const int multiple = trees_multiple(shape.num_nodes());
  while (config.window == 0 && too_large() && staging.window > std::max(kMinWindow, multiple)) {
    staging.window -= multiple;
  }
}

size_t butterfly_bytes(const Shape& shape) {
  if (shape.num_nodes() == 2 && shape.max_local() == 1) return kPairButterflyBytes;
  return shape.num_nodes() <= kFewNodes ? kFewNodesButterflyBytes : kButterflyBytes;
}

// The nodes whose owners this node's owners exchange messages with, over all forests and the
// butterfly.
std::set<int> neighbour_nodes(const NodeSchedules& schedules, const Shape& shape) {
  std::set<int> nodes;
  auto note = [&](const Schedule& schedule) {
    for (const Step& step : schedule.steps) {
      if (step.kind == StepKind::kPut) nodes.insert(step.peer);
    }
  };
  for (const Schedule& schedule : schedules.tree) note(schedule);
  for (const Schedule& schedule : schedules.ring) note(schedule);
  note(schedules.butterfly);
  nodes.erase(shape.node);
  return nodes;
}

}  // namespace

StagingShape size_staging(const Shape& shape, const Config& config) {
  StagingShape staging;
  staging.num_local = shape.num_local();
  const bool one_node = shape.num_nodes() == 1;
  const bool many = shape.any_on_device && shape.max_local() >= kManyRanks;
  const bool deep = shape.any_on_device && shape.num_nodes() > kShallowNodes;
  staging.slot_bytes = config.chunk_bytes;
  if (staging.slot_bytes == 0) {
    staging.slot_bytes = one_node ? kNodeChunkBytes : kWireChunkBytes;
    if (shape.any_on_device) {
      staging.slot_bytes = deep ? kDeepChunkBytes : many ? kManyRanksChunkBytes : kDeviceChunkBytes;
    }
  }
  int window = static_cast<int>(config.window);
  const int lanes_per_rank = many ? kManyRanksLanes : kLanesPerRank;
  if (window == 0) {
    const int least = deep ? kDeepWindow : has_own_gpus(shape) ? kOwnGpuWindow : kMinWindow;
    window = std::max(least, lanes_per_rank * shape.max_local());
  }
  const int multiple = trees_multiple(shape.num_nodes());
  staging.window = (window + multiple - 1) / multiple * multiple;
  fit_budget(shape, config, staging);
  staging.num_children = one_node ? 0 : kMaxChildren;
  staging.num_rounds = one_node ? 0 : butterfly_rounds(shape.num_nodes());
  staging.round_bytes = one_node ? 0 : std::min(butterfly_bytes(shape), staging.slot_bytes);
  staging.board_bytes = shape.any_on_device ? sizeof(TaskBoard) : 0;
  if (one_node) {
    const auto ranks = static_cast<size_t>(shape.num_local());
    staging.flat_bytes = config.flat_bytes;
    if (staging.flat_bytes == 0) {
      size_t times_ranks = shape.crowded ? kCrowdedFlatBytesTimesRanks : kFlatBytesTimesRanks;
      if (shape.any_on_device) times_ranks = kDeviceFlatBytesTimesRanks;
      staging.flat_bytes = std::clamp(times_ranks / ranks, kMinFlatBytes, kMaxFlatBytes);
    }
  }
  return staging;
}

int most_add_threads(const Shape& shape, int num_shares) {
  if (!has_own_gpus(shape)) return kMostAddThreads;
  return std::max(kMostAddThreads, kOwnGpuAddThreads / num_shares);
}

size_t peer_block_bytes(const Shape& shape) {
  return std::bit_floor(kPeerBlocksBytes / static_cast<size_t>(shape.num_local() + 1));
}

EngineLimits size_limits(const Shape& shape, const StagingShape& staging, const Config& config,
                         const Found& found) {
  EngineLimits limits;
  limits.flat_bytes = limits.flat_private_bytes = staging.flat_bytes;
  if (found.reached && config.flat_bytes == 0 && !shape.crowded && !shape.any_on_device) {
    limits.flat_bytes = std::max(staging.flat_bytes / kFlatWhereReached, kMinFlatBytes);
  }
  // Only what goes through staging is checked.
  if (config.check != "off") limits.flat_bytes = limits.flat_private_bytes = 0;
  limits.publish_bytes = kPublishBytes;
  limits.butterfly_bytes = staging.round_bytes;
  limits.min_chunk_bytes = std::min(kMinChunkBytes, staging.slot_bytes);
  if (shape.any_on_device) {
    // Copies of many ranks come one after the other where they share a link.
    limits.min_chunk_bytes = shape.max_local() < kManyRanks
                                 ? std::min(kMinDeviceChunkBytes, staging.slot_bytes)
                                 : staging.slot_bytes;
    limits.stream_results = shape.num_nodes() == 1 && !has_own_gpus(shape);
    limits.min_group_chunk_bytes = std::min(kGroupChunkBytes, staging.slot_bytes);
    if (has_own_gpus(shape)) {
      limits.demote_results = true;
      limits.copies_together = staging.window < 4 ? 1 : kOwnGpuChunksTogether;
      size_t chunk_bytes = staging.slot_bytes;
      if (config.chunk_bytes == 0) {
        chunk_bytes = std::min(kOwnGpuChunkBytes, chunk_bytes);
        limits.fine_chunk_bytes = chunk_bytes;
        limits.fine_until_bytes = SIZE_MAX;
      }
      const size_t step_bytes = chunk_bytes * static_cast<size_t>(shape.num_local());
      limits.copies_ahead = std::max(kLeastAhead, uint64_t{kAheadBytes / step_bytes});
    }
    limits.run_here_bytes = kRunHereBytes;
    limits.group_from_bytes = config.gpu_group_from != 0 ? config.gpu_group_from : kGroupFromBytes;
    // Chunks that go together wait for those a window before.
    limits.copy_step = std::min(config.copy_step, static_cast<uint64_t>(staging.window));
  } else if (shape.num_nodes() == 1) {
    limits.fine_chunk_bytes = std::min(kFineChunkBytes, staging.slot_bytes);
    limits.fine_until_bytes = kFineUntilBytes;
    limits.learn_from_bytes = kLearnFromBytes;
  }
  // Inputs and results of all ranks that are twice what the cache holds have left it before anybody
  // comes back to them.
  const size_t cache_bytes = found.cache_bytes == 0 ? kUsualCacheBytes : found.cache_bytes;
  limits.streaming_bytes = cache_bytes / static_cast<size_t>(shape.num_local());
  if (shape.any_on_device) limits.streaming_bytes = kDeviceStreamingBytes;
  if (shape.any_on_device && found.rdma) {
    limits.link.hop_latency_ns = kDeviceHopNs;
    limits.link.bytes_per_ns = kDeviceLinkBytesPerNs;
  }
  limits.link.chunk_bytes = staging.slot_bytes;
  limits.link.least_chunk_bytes = limits.min_chunk_bytes;
  limits.timeout_ns = config.timeout_ms * 1'000'000;
  return limits;
}

std::vector<NodeSchedules> make_all_schedules(int num_nodes, const Config& config) {
  std::vector<NodeSchedules> all(static_cast<size_t>(num_nodes));
  auto hand_out = [&](const Forest& forest, std::vector<Schedule> NodeSchedules::*where) {
    for (const Tree& tree : forest) {
      ScheduleSet set = build_tree_all_reduce(tree);
      for (size_t node = 0; node < all.size(); ++node)
        (all[node].*where).push_back(std::move(set[node]));
    }
  };
  hand_out(double_binary_tree(num_nodes), &NodeSchedules::tree);
  if (num_nodes <= kMaxRingNodes) hand_out(ring(num_nodes), &NodeSchedules::ring);
  ScheduleSet butterfly;
  if (num_nodes > 1) butterfly = build_butterfly_all_reduce(num_nodes);
  for (size_t node = 0; node < all.size(); ++node) {
    if (num_nodes > 1) all[node].butterfly = std::move(butterfly[node]);
    all[node].is_forced = config.forest != "auto";
    all[node].forced = config.forest == "ring" ? ForestKind::kRing : ForestKind::kDoubleBinaryTree;
  }
  return all;
}

NodeSchedules make_schedules(const Shape& shape, const Config& config) {
  return make_all_schedules(shape.num_nodes(), config)[static_cast<size_t>(shape.node)];
}

std::vector<int> peer_ranks(const Shape& shape, const NodeSchedules& schedules, int window) {
  std::set<int> ranks;
  const std::set<int> neighbours = neighbour_nodes(schedules, shape);
  for (int lane = shape.local_rank; lane < window; lane += shape.num_local()) {
    for (int node : neighbours) ranks.insert(shape.owner(node, lane));
  }
  return {ranks.begin(), ranks.end()};
}

}  // namespace hfr
