// Sizing: the numbers that a communicator runs with, from its shape and its settings. Pure.
// docs/configuration.md says where the defaults were measured.
#pragma once

#include <vector>

#include "base/config.hpp"
#include "engine/context.hpp"

namespace hfr {

// The largest number of nodes for which the ring is considered: few enough that the window stays
// small.
constexpr int kMaxRingNodes = 8;

StagingShape size_staging(const Shape& shape, const Config& config);

// What set-up found, beside the ranks.
struct Found {
  bool reached = false;    // private buffers of the node's ranks can be reached without staging
  bool rdma = false;       // as the transport says of itself
  size_t cache_bytes = 0;  // of the processor's last cache; 0: unknown
};
EngineLimits size_limits(const Shape& shape, const StagingShape& staging, const Config& config,
                         const Found& found);

// Of each of the machine's `num_shares` CUDA ranks.
int most_add_threads(const Shape& shape, int num_shares);

// How much of each rank's buffer an owner pulls at once.
size_t peer_block_bytes(const Shape& shape);
// By node. The same on all ranks.
std::vector<NodeSchedules> make_all_schedules(int num_nodes, const Config& config);
NodeSchedules make_schedules(const Shape& shape, const Config& config);

// The ranks this rank exchanges messages with, in order: owners of the same lanes on neighbouring
// nodes. Both sides come to the same answer, because every forest's edges carry puts both ways.
std::vector<int> peer_ranks(const Shape& shape, const NodeSchedules& schedules, int window);

}  // namespace hfr
