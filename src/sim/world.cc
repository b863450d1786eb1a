#include "sim/world.hpp"

#include <algorithm>
#include <numeric>

#include "base/text.hpp"
#include "sim/world_parts.hpp"

namespace hfr::sim {

Shape make_world_shape(const ClusterSpec& cluster, int num_nodes) {
  Shape shape;
  const int per_node = cluster.node.num_ranks();
  shape.num_ranks = num_nodes * per_node;
  shape.nodes.clear();
  shape.node_of_rank.clear();
  for (int node = 0; node < num_nodes; ++node) {
    shape.nodes.emplace_back(per_node);
    std::iota(shape.nodes.back().begin(), shape.nodes.back().end(), node * per_node);
    shape.node_of_rank.insert(shape.node_of_rank.end(), static_cast<size_t>(per_node), node);
  }
  shape.any_on_device = shape.all_on_device = !cluster.node.gpus.empty();
  shape.own_gpus = shape.all_on_device && cluster.node.ranks_per_gpu == 1;
  return shape;
}

World::World(WorldSpec spec)
    : spec_(std::move(spec)),
      data_links_(loop_, spec_.num_nodes),
      control_links_(loop_, spec_.num_nodes) {}
World::~World() = default;

Result<std::unique_ptr<World>> World::create(WorldSpec spec) {
  HFR_RETURN_IF_ERROR(check_cluster(spec.cluster));
  HFR_RETURN_IF_ERROR(
      check_faults(spec.faults, spec.num_nodes, spec.num_nodes * spec.cluster.node.num_ranks()));
  if (spec.hosts.empty()) {
    spec.hosts.resize(static_cast<size_t>(spec.num_nodes));
    std::iota(spec.hosts.begin(), spec.hosts.end(), 0);
  }
  std::unique_ptr<World> world(new World(std::move(spec)));
  HFR_RETURN_IF_ERROR(world->build());
  return world;
}

Status World::build() {
  const StagingShape& staging = spec_.staging;
  const auto slots = static_cast<size_t>(staging.num_local + 1 + staging.num_children);
  const size_t slot_memory = static_cast<size_t>(staging.window) * slots * staging.slot_bytes;
  machine_ = std::make_unique<Machine>(spec_.cluster, spec_.hosts, slot_memory, loop_.flows());
  Shape shape = make_world_shape(spec_.cluster, spec_.num_nodes);
  directory_.resize(static_cast<size_t>(shape.num_ranks));
  for (int node = 0; node < spec_.num_nodes; ++node) {
    shape.node = node;
    HFR_RETURN_IF_ERROR(build_node(node, shape));
  }
  control_ = std::make_unique<Control>(
      loop_, control_links_, shape.num_ranks, spec_.cluster.node.num_ranks(),
      [this](int rank, const Failure& failure) { told(rank, failure); });
  return Status();
}

Status World::build_node(int idx, const Shape& node_shape) {
  HFR_ASSIGN_OR_RETURN(ReservedMemory memory,
                       ReservedMemory::create(Staging::bytes_needed(spec_.staging)));
  nodes_.push_back(std::make_unique<Node>(spec_.staging, std::move(memory)));
  Node& node = *nodes_.back();
  const int num_local = spec_.staging.num_local;
  // Verbs: the side that waits for a connection to be mended (docs/transports.md). A system's TCP
  // tries for longer than any deadline.
  const SimTime gives_up_after =
      machine_->on_host() ? kNever : spec_.limits.timeout_ns * kPsPerNs / 2;
  if (spec_.use_groups) {
    for (int r = 0; r < num_local; ++r) {
      HFR_ASSIGN_OR_RETURN(ReservedMemory boxes,
                           ReservedMemory::create(Groups::box_bytes(num_local, spec_.staging)));
      node.boxes.push_back(std::move(boxes));
    }
  }
  if (spec_.cluster.node.ranks_per_gpu > 1) {
    for (size_t gpu = 0; gpu < spec_.cluster.node.gpus.size(); ++gpu) {
      for (CopyDirection direction : {CopyDirection::kIn, CopyDirection::kOut}) {
        node.teams.push_back(std::make_unique<SimCopyTeam>(loop_, spec_.cluster.node, direction));
      }
    }
  }
  for (int local = 0; local < num_local; ++local) {
    Shape shape = node_shape;
    shape.local_rank = local;
    shape.rank = idx * num_local + local;
    ranks_.push_back(std::make_unique<Rank>(*this, node));
    Rank& rank = *ranks_.back();
    node.ranks.push_back(&rank);
    rank.place = {shape.rank, idx, local};
    rank.link_rate = loop_.flows().capacity(machine_->gpu_link(idx, local, true));
    rank.device = std::make_unique<SimDevice>(
        SimDevice::Parts{loop_, *machine_, *this, node.map, num_local, spec_.staging.slot_bytes,
                         spec_.adds, spec_.log},
        rank.place);
    rank.pool = std::make_unique<SimPool>(
        SimPool::Parts{loop_, *machine_, *this, node.map, spec_.adds, spec_.log}, rank.place);
    if (spec_.num_nodes > 1) {
      rank.transport = std::make_unique<SimTransport>(
          SimTransport::Parts{loop_, *machine_, *this, directory_, data_links_, gives_up_after,
                              spec_.adds != nullptr, spec_.log},
          rank.place);
      directory_[static_cast<size_t>(shape.rank)] = rank.transport.get();
    }
    rank.context.reset(new EngineContext{.shape = std::move(shape),
                                         .staging = node.staging,
                                         .limits = spec_.limits,
                                         .schedules = spec_.schedules[static_cast<size_t>(idx)],
                                         .one_process = false,  // nobody reaches another's buffers
                                         .direct = false,
                                         .peer_memory = {},
                                         .heap = {},
                                         .map_heap = [] { return nullptr; },
                                         .clock = loop_.clock(),
                                         .device = *rank.device,
                                         .pool = *rank.pool,
                                         .transport = rank.transport.get()});
    if (spec_.use_groups) rank.context->groups = make_groups(node, local);
    rank.device->set_groups(rank.context->groups);
    if (const NodeSpec& spec = spec_.cluster.node; spec.ranks_per_gpu > 1) {
      const size_t ways = 2 * spec.gpu_of(local);
      rank.device->set_team(CopyDirection::kIn, *node.teams[ways]);
      rank.device->set_team(CopyDirection::kOut, *node.teams[ways + 1]);
    }
    rank.executor = std::make_unique<Executor>(*rank.context);
    for (int lane = local; lane < spec_.staging.window; lane += num_local)
      rank.lanes.push_back(lane);
    rank.seen.assign(2 * rank.lanes.size(), 0);
  }
  return Status();
}

Groups World::make_groups(const Node& node, int local_rank) const {
  const auto& groups = spec_.cluster.node.gpu_groups;
  std::vector<std::byte*> boxes;
  for (const auto& group : groups) {
    if (std::find(group.begin(), group.end(), local_rank) == group.end()) continue;
    for (int member : group) boxes.push_back(node.boxes[static_cast<size_t>(member)].data());
  }
  return Groups(groups, local_rank, std::move(boxes), node.staging);
}

void World::wake(int rank_idx) {
  Rank& rank = rank_at(rank_idx);
  if (rank.woken || rank.busy_until > loop_.now()) return;  // it looks when it is free
  if (!rank.can_turn()) return;
  rank.woken = true;
  woken_.push_back(rank_idx);
}

void World::counter_moved(int rank_idx, const Counter& counter) {
  Rank& rank = rank_at(rank_idx);
  const int lane = rank.node.map.lane_of(counter);
  wake(rank.node.ranks[static_cast<size_t>(lane % spec_.staging.num_local)]->place.rank);
  if (!spec_.use_groups) return;
  for (Rank* other : rank.node.ranks) other->device->look();
}

void World::keep_busy(int rank_idx, SimTime duration) {
  Rank& rank = rank_at(rank_idx);
  if (machine_->on_host() && rank.slowness > 1)
    duration = static_cast<SimTime>(static_cast<double>(duration) * rank.slowness);
  rank.busy_until = std::max(rank.busy_until, loop_.now()) + duration;
  loop_.at(rank.busy_until, rank, 0);
}

SimTime World::busy_until(int rank) const { return ranks_[static_cast<size_t>(rank)]->busy_until; }

Status World::run(size_t num_operations, const Describe& descriptor, const Report& progress) {
  began_ = loop_.now();
  first_operation_ = end_operation_;
  end_operation_ += num_operations;
  num_done_ = 0;
  num_ended_ = 0;
  descriptor_ = &descriptor;
  const uint64_t all = num_operations * ranks_.size();
  for (const auto& rank : ranks_) rank->ending = {};
  if (has_faults()) start_faults();
  for (const auto& rank : ranks_) wake(rank->place.rank);
  take_turns();
  const uint64_t per_report = std::max<uint64_t>(all / 100, 1);
  uint64_t reported = 0;
  const std::function<void()> at_rest = [this] { take_turns(); };
  while (num_ended_ < ranks_.size()) {
    if (!loop_.step(at_rest)) return describe_stop();
    if (progress && num_done_ - reported >= per_report) {
      reported = num_done_;
      progress(num_done_, all);
    }
  }
  return Status();
}

void World::take_turns() {
  while (!woken_.empty()) {
    Rank& rank = rank_at(woken_.front());
    woken_.pop_front();
    rank.woken = false;
    turn(rank);
  }
}

void World::turn(Rank& rank) {
  if (!rank.can_turn()) return;  // stopped since it was woken
  ++num_turns_;
  const uint64_t submitted = rank.submitted;
  while (rank.submitted < end_operation_ && rank.executor->has_room()) {
    rank.executor->submit((*descriptor_)(rank.place.rank, rank.submitted - first_operation_));
    ++rank.submitted;
    if (has_faults()) rank.submit_times.push_back(loop_.now());
  }
  if (has_faults() && rank.submitted > submitted) {
    (void)rank.executor->check(loop_.clock().now_ns());  // deadlines start
    look_from(rank, rank.deadline());
  }
  while (rank.busy_until <= loop_.now() && rank.executor->progress()) {
  }
  if (rank.executor->failed()) return end(rank, Ending::How::kFailed, rank.executor->failure());
  if (rank.busy_until <= loop_.now()) observe(rank);
}

void World::observe(Rank& rank) {
  const Staging& staging = rank.node.staging;
  while (rank.completed < end_operation_ && rank.executor->completed(rank.completed)) {
    ++rank.completed;
    ++num_done_;
  }
  if (rank.completed == end_operation_) end(rank, Ending::How::kDone);
  bool freed = false;
  for (size_t i = 0; i < rank.lanes.size(); ++i) {
    const uint64_t added = staging.added(rank.lanes[i]).load();
    const uint64_t published = staging.published(rank.lanes[i]).load();
    if (added == rank.seen[2 * i] && published == rank.seen[2 * i + 1]) continue;
    rank.seen[2 * i] = added;
    rank.seen[2 * i + 1] = published;
    freed = true;
  }
  if (freed) {
    for (Rank* other : rank.node.ranks) other->device->look();
  }
  bool posted = false;
  while (rank.posted < end_operation_ &&
         staging.post(rank.place.local_rank, rank.posted).seq.load() == rank.posted + 1) {
    ++rank.posted;
    posted = true;
  }
  if (!posted) return;
  for (Rank* other : rank.node.ranks) wake(other->place.rank);
}

void World::end(Rank& rank, Ending::How how, const Failure& failure) {
  if (rank.ending.how != Ending::How::kRunning) return;
  rank.ending = {how, loop_.now() - began_, rank.completed - first_operation_, failure};
  ++num_ended_;
  if (how != Ending::How::kFailed) return;
  control_->report(rank.place.rank, failure);
  for (Rank* other : rank.node.ranks) wake(other->place.rank);
}

std::vector<Ending> World::endings() const {
  std::vector<Ending> endings;
  for (const auto& rank : ranks_) endings.push_back(rank->ending);
  return endings;
}

Status World::describe_stop() {
  for (const auto& rank : ranks_) {
    if (rank->ending.how != Ending::How::kRunning) continue;
    const auto stall = rank->executor->oldest();
    if (!stall) continue;
    return Status(Code::kInternalError,
                  cat("nothing more happens, and rank ", rank->place.rank, " waits for rank ",
                      stall->wait.rank, ", ", wait_text(stall->wait), ", in ", stall->operation));
  }
  return Status(Code::kInternalError, "nothing more happens");
}

}  // namespace hfr::sim
