// Set-up: from "I am rank r of n, meet there" to everything a communicator runs on. Blocks;
// explains.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/cancel.hpp"
#include "base/config.hpp"
#include "base/record_file.hpp"
#include "base/record_signal.hpp"
#include "base/waiter.hpp"
#include "bootstrap/auth.hpp"
#include "bootstrap/line.hpp"
#include "bootstrap/rendezvous.hpp"
#include "comm/comm_metrics.hpp"
#include "comm/gpu_mates.hpp"
#include "comm/metrics_endpoint.hpp"
#include "comm/node_memory.hpp"
#include "engine/context.hpp"
#include "ports/transport.hpp"
#include "topo/gpu_groups.hpp"

namespace hfr {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

struct JoinSpec {
  int rank = 0;
  int num_ranks = 1;
  HostPort address;  // the rendezvous
  Secret secret;
  UniqueFd listener;  // valid on the rank that hosts the rendezvous
  // After a shrink or a resume, instead of address and listener; `secret` is the child's own.
  Gathered gathered;
  std::optional<Line> line;  // none: a new one begins, with these ancestors
  std::vector<std::shared_ptr<MeetingPoint>> ancestors;
  bool is_child = false;  // of a split or a shrink, or resumed
  CommMetrics earlier;    // of the same communicator, before it was suspended
  Config config;
  uint64_t deadline_ns = 0;            // of set-up; 0: as long as an operation has
  const CancelFlag* cancel = nullptr;  // set from another thread: give up
  // Called, where it is there, before this rank gives the others the last of what they need.
  std::function<void()> before_last_stage;
  // With Config::device "cuda": the caller's context, or else the number of a device, mod how many
  // there are; below 0: the local rank.
  void* cuda_context = nullptr;
  int cuda_ordinal = -1;
};

// What set_up makes, in the order of making: destroyed in reverse.
struct Parts {
  Config config;
  CommMetrics earlier;  // before it was suspended
  Logger logger;
  std::unique_ptr<std::FILE, CloseFile> trace_file;  // null: no trace was asked for
  std::shared_ptr<MetricsEndpoint> metrics;          // null: nobody asked
  // Null: nothing is recorded. Made after the membership, whose server writes into it until the
  // end.
  std::unique_ptr<RecordFile> record;
  std::unique_ptr<Membership> membership;
  std::unique_ptr<DumpOnSignal> dump_on_signal;  // null: on none
  Line line;
  void* cuda_context = nullptr;  // that its children use, too, or else the number of the device
  int cuda_ordinal = -1;
  Shape shape;
  bool one_process = false;
  std::shared_ptr<NodeMemory> memory;
  PeerMemory peer_memory;  // available when every rank of the node can reach every other
  StagingShape staging;
  EngineLimits limits;
  NodeSchedules schedules;
  WaitPolicy wait;
  size_t heap_bytes = 0;  // per rank
  std::unique_ptr<Device> device;
  std::shared_ptr<GpuMates> mates;         // null: no rank of this process shares the GPU
  size_t mate_idx = 0;                     // which of them this rank is
  std::vector<int> gpu_sharers;            // EngineContext's; none where there are mates
  GpuGroups gpu_groups;                    // of this node
  std::vector<std::byte*> boxes;           // of the members of this rank's group (engine/group.hpp)
  std::vector<std::vector<int>> add_cpus;  // of each adding thread; none: whoever drives adds
  std::unique_ptr<Transport> transport;    // null with a single node
};

Result<Parts> set_up(JoinSpec spec);

// As the settings have it, for what rank `rank` has to say.
Result<Logger> open_log(const Config& config, int rank);

// The calling thread's current CUDA context; null when it has none.
void* current_gpu_context();

}  // namespace hfr
