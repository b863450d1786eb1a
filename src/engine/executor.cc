#include "engine/executor.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/waiter.hpp"
#include "sched/plan.hpp"
#include "sched/signature.hpp"

namespace hfr {
namespace {

// A lost peer may only be the messenger of another rank's failure: the control plane gets this long
// to tell.
constexpr uint64_t kLostPeerGraceNs = 300'000'000;
constexpr uint64_t kStoppedPeerNs = 200'000'000;

std::string operation_text(const Operation& o) {
  return cat("operation #", o.number, " (", signature_text(o.signature), ")");
}

}  // namespace

Executor::Executor(EngineContext& context)
    : context_(context),
      me_(context.shape.local_rank),
      num_local_(context.shape.num_local()),
      tuner_(context.limits.learn_from_bytes) {
  ops_.reserve(kMaxSubmitted);
  for (uint64_t i = 0; i < kMaxSubmitted; ++i) {
    ops_.push_back(std::make_unique<Operation>());
    ops_.back()->sends.resize(static_cast<size_t>(num_local_));
    ops_.back()->recvs.resize(static_cast<size_t>(num_local_));
    ops_.back()->peer_sends.resize(static_cast<size_t>(num_local_));
    ops_.back()->peer_recvs.resize(static_cast<size_t>(num_local_));
  }
  const StagingShape& shape = context.staging.shape();
  auto num_landings = static_cast<size_t>(shape.window * landings_per_lane(shape.num_rounds));
  arrivals_.chunk_plus_one.assign(num_landings, 0);
  arrivals_.signature.assign(num_landings, 0);
  arrivals_.peer.assign(num_landings, -1);
  lost_since_ns_.assign(static_cast<size_t>(context.shape.num_ranks), 0);
  for (int lane = me_; lane < shape.window; lane += num_local_) {
    lanes_.emplace_back(context, arrivals_, lane);
  }
}

std::optional<uint64_t> Executor::submit(const OpDescriptor& desc) {
  uint64_t number = submitted_.load(std::memory_order_relaxed);
  if (number - completed_.load(std::memory_order_relaxed) >= kMaxSubmitted) return std::nullopt;
  Operation& o = op(number);
  o.desc = desc;
  o.number = number;
  o.signature = make_signature(desc.count, desc.dtype, desc.op);
  o.bytes = desc.count * dtype_size(desc.dtype);
  o.state = OpState::kQueued;
  o.started_ns = o.submitted_ns = 0;
  // Where the CPU cannot reach the buffers, whatever has bytes takes the lanes.
  if (!context_.device.host_accessible() && o.bytes > 0) lay_out_chunks(o);
  o.ready.store(desc.ready, std::memory_order_release);
  submitted_.store(number + 1, std::memory_order_relaxed);
  return number;
}

void Executor::set_ready(uint64_t number) {
  op(number).ready.store(true, std::memory_order_release);
}

bool Executor::all_ready() {
  for (uint64_t n = completed_.load(std::memory_order_relaxed);
       n < submitted_.load(std::memory_order_relaxed); ++n) {
    if (!input_ready(op(n))) return false;
  }
  return true;
}

bool Executor::input_ready(Operation& o) {
  if (o.ready.load(std::memory_order_acquire)) return true;
  if (!o.desc.on_device || !context_.device.user_side()->input_ready(o.number)) return false;
  o.ready.store(true, std::memory_order_relaxed);
  return true;
}

bool Executor::progress() {
  if (failed()) return false;
  if (context_.staging.failure().state.load(std::memory_order_relaxed) == 2) {
    fail(read_failure(context_.staging.failure()));
    return false;
  }
  bool moved = start_operations();
  // What has just been started sends first: asking for what the others sent costs a system call.
  if (open_lane_ops_ > 0 && !moved) {
    moved |= poll_transport();
    moved |= poll_pool();
    moved |= context_.device.poll();
    if (context_.device.failed()) {
      fail_device(context_.device.health(false));
      return false;
    }
  }
  moved |= move_operations();
  moved |= complete_operations();
  return moved && !failed();
}

bool Executor::start_operations() {
  bool moved = false;
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  const uint64_t submitted = submitted_.load(std::memory_order_relaxed);
  while (posted_ < submitted && posted_ - completed < kMaxOpenOps) {
    Operation& o = op(posted_);
    if (!input_ready(o)) break;
    post(o);
    ++posted_;
    moved = true;
  }
  while (running_ < posted_) {
    Operation& o = op(running_);
    if (!gather_posts(o) || !choose_path(o)) break;
    ++running_;
    moved = true;
  }
  return moved;
}

void Executor::post(Operation& o) {
  Post& p = context_.staging.post(me_, o.number);
  if (!context_.device.host_accessible() && o.bytes > 0) {
    p.flags = Post::kStaged;
  } else if (takes_flat(o)) {
    p.flags = offer_flat(o, p);
  } else {
    p.flags = o.bytes == 0 ? Post::kPublished : offer_buffers(o, p);  // nothing to fetch
  }
  p.signature = o.signature;
  p.seq.store(o.number + 1, std::memory_order_release);
  o.state = OpState::kPosted;
  o.posts_seen = 0;
}

uint32_t Executor::offer_buffers(const Operation& o, Post& p) const {
  const bool in_heap = context_.direct && !context_.one_process;
  const bool send =
      context_.direct && (context_.one_process || context_.heap.contains(o.desc.send, o.bytes));
  const bool recv =
      context_.direct && (context_.one_process || context_.heap.contains(o.desc.recv, o.bytes));
  // Heap offsets, unless all ranks of the node see the same addresses anyway.
  p.send = context_.heap.where(o.desc.send, send && in_heap);
  p.recv = context_.heap.where(o.desc.recv, recv && in_heap);
  uint32_t flags = 0;
  if (send) flags |= Post::kSendDirect;
  if (recv) flags |= Post::kRecvDirect;
  if (context_.peer_memory.available() && o.bytes <= context_.limits.max_peer_bytes &&
      tuner_.offers_kernel(o.bytes)) {
    flags |= Post::kPeerMemory;
  }
  return flags;
}

bool Executor::gather_posts(Operation& o) {
  for (; o.posts_seen < num_local_; ++o.posts_seen) {
    Post& p = context_.staging.post(o.posts_seen, o.number);
    if (p.seq.load(std::memory_order_acquire) != o.number + 1) return false;
  }
  for (int r = 0; r < num_local_; ++r) {
    const Post& p = context_.staging.post(r, o.number);
    if (p.signature == o.signature) continue;
    int rank = context_.shape.nodes[context_.shape.node][r];
    fail({Status(Code::kMismatch, cat("operation #", o.number, ": rank ", context_.shape.rank,
                                      " started an ", signature_text(o.signature), "; rank ", rank,
                                      " started an ", signature_text(p.signature))),
          rank});
    return false;
  }
  return true;
}

bool Executor::choose_path(Operation& o) {
  o.state = OpState::kRunning;
  o.reads_in_place = false;
  bool all_reached = true;
  bool any_staged = false;
  for (int r = 0; r < num_local_; ++r) {
    const Post& p = context_.staging.post(r, o.number);
    const bool by_heap =
        !context_.one_process && (p.flags & (Post::kSendDirect | Post::kRecvDirect)) != 0;
    std::byte* base = by_heap ? context_.heap_base() : nullptr;
    if (by_heap && base == nullptr) return fail_mapping(o);
    auto reach = [&](uint64_t where) {
      return context_.one_process ? reinterpret_cast<std::byte*>(where) : base + where;
    };
    auto idx = static_cast<size_t>(r);
    o.sends[idx] = (p.flags & Post::kSendDirect) != 0 ? reach(p.send) : nullptr;
    o.recvs[idx] = (p.flags & Post::kRecvDirect) != 0 ? reach(p.recv) : nullptr;
    const bool by_kernel = (p.flags & Post::kPeerMemory) != 0;
    o.peer_sends[idx] = by_kernel ? p.send : 0;
    o.peer_recvs[idx] = by_kernel ? p.recv : 0;
    if ((p.flags & Post::kPublished) != 0) o.sends[idx] = p.payload;
    if ((p.flags & Post::kSendDirect) != 0) o.reads_in_place = true;
    if ((p.flags & Post::kStaged) != 0) any_staged = true;
    all_reached &= by_kernel || (o.sends[idx] != nullptr && o.recvs[idx] != nullptr);
  }
  // A flat result that is added in several passes would overwrite an input in place that is still
  // to be read: there the published copy serves.
  const bool one_node = context_.shape.num_nodes() == 1;
  const bool flat = takes_flat(o) && !any_staged;
  const bool keep_copy = o.bytes == 0 || (flat && num_local_ > ReduceDescriptor::kMaxSources);
  if (context_.device.host_accessible() && !keep_copy) {
    o.sends[static_cast<size_t>(me_)] = static_cast<const std::byte*>(o.desc.send);
    o.recvs[static_cast<size_t>(me_)] = static_cast<std::byte*>(o.desc.recv);
  }
  if (flat) {
    o.path = OpPath::kFlat;
    o.added = false;
  } else if (one_node && !any_staged &&
             (num_local_ == 1 ||
              (all_reached && num_local_ <= ReduceDescriptor::kMaxDestinations))) {
    o.path = OpPath::kDirect;
    auto unreached = [](const auto* where) { return where == nullptr; };
    o.by_kernel = std::any_of(o.sends.begin(), o.sends.end(), unreached) ||
                  std::any_of(o.recvs.begin(), o.recvs.end(), unreached);
    o.slice_done = 0;
    o.added = false;
  } else {
    o.path = OpPath::kLanes;
    if (context_.device.host_accessible()) lay_out_chunks(o);
    ++open_lane_ops_;
  }
  const bool two_ways = context_.peer_memory.available() && tuner_.learns(o.bytes) &&
                        o.bytes <= context_.limits.max_peer_bytes && o.bytes > 0;
  const bool alone = completed_.load(std::memory_order_relaxed) == o.number;
  const bool in_reach = o.path == OpPath::kDirect && !o.by_kernel;
  o.timed_from_ns = two_ways && alone && !flat && !in_reach ? context_.clock.now_ns() : 0;
  return true;
}

bool Executor::fail_mapping(const Operation& o) {
  fail({Status(Code::kOutOfMemory,
               cat(operation_text(o), ": rank ", context_.shape.rank,
                   " cannot map the memory that the node's ranks share; allow it more address "
                   "space (ulimit -v) or lower HFREDUCE_HEAP_BYTES")),
        context_.shape.rank});
  return false;
}

const std::vector<Schedule>* Executor::choose_schedules(size_t bytes) const {
  const NodeSchedules& schedules = context_.schedules;
  ForestKind kind = schedules.is_forced
                        ? schedules.forced
                        : choose_forest(context_.shape.num_nodes(), bytes, schedules.link);
  const bool use_ring = kind == ForestKind::kRing && !schedules.ring.empty();
  return use_ring ? &schedules.ring : &schedules.tree;
}

bool Executor::uses_butterfly(size_t bytes) const {
  return context_.shape.num_nodes() > 1 && bytes <= context_.limits.butterfly_bytes;
}

Chunking Executor::plan(size_t bytes) const {
  PlanInput input;
  input.bytes = bytes;
  input.first_chunk_bytes = context_.limits.first_chunk_bytes;
  input.max_local_ranks = context_.shape.max_local();
  input.num_trees = static_cast<int>(choose_schedules(bytes)->size());
  input.slot_bytes = context_.staging.shape().slot_bytes;
  input.min_chunk_bytes = context_.limits.min_chunk_bytes;
  if (context_.limits.fine_chunk_bytes != 0 && bytes <= context_.limits.fine_until_bytes) {
    input.slot_bytes = context_.limits.fine_chunk_bytes;
  }
  if (uses_butterfly(bytes)) {
    // One chunk: it is small, and it must fit a round slot.
    input.first_chunk_bytes = 0;
    input.min_chunk_bytes = context_.staging.shape().round_bytes;
    input.slot_bytes = context_.staging.shape().round_bytes;
  }
  return plan_chunks(input);
}

void Executor::lay_out_chunks(Operation& o) {
  o.butterfly = uses_butterfly(o.bytes);
  o.forest = choose_schedules(o.bytes);
  o.chunking = plan(o.bytes);
  o.num_chunks = o.chunking.num_chunks;
  o.first_chunk = next_chunk_;
  next_chunk_ += o.num_chunks;
  o.copied_in = o.copied_out = o.copy_out_end = 0;
  o.retired = 0;
  o.owned = 0;
  auto window = static_cast<uint64_t>(context_.staging.shape().window);
  for (uint64_t lane = 0; lane < window; ++lane) {
    if (static_cast<int>(lane % static_cast<uint64_t>(num_local_)) != me_) continue;
    uint64_t first = o.first_chunk + (lane + window - o.first_chunk % window) % window;
    uint64_t end = o.first_chunk + o.num_chunks;
    if (first < end) o.owned += (end - first - 1) / window + 1;
  }
}

size_t Executor::num_copies(size_t bytes) const {
  return static_cast<size_t>(plan(bytes).num_chunks);
}

bool Executor::all_fed() const {
  for (uint64_t n = completed_.load(std::memory_order_relaxed);
       n < submitted_.load(std::memory_order_relaxed); ++n) {
    const Operation& o = op(n);
    if (o.bytes > 0 && (o.copied_in < o.num_chunks || o.copied_out < o.num_chunks)) return false;
  }
  return true;
}

void Executor::submit_early(uint64_t number) {
  Operation& o = op(number);
  UserSide& user = *context_.device.user_side();
  for (; o.copied_in < o.num_chunks; ++o.copied_in) {
    user.submit_early(CopyDirection::kIn, copy_in(o, o.copied_in));
  }
  for (; o.copied_out < o.num_chunks; ++o.copied_out) {
    user.submit_early(CopyDirection::kOut, copy_out(o, o.copied_out));
  }
  o.copy_out_end = o.first_chunk + o.num_chunks;
}

bool Executor::poll_transport() {
  if (context_.transport == nullptr) return false;
  std::array<TransportEvent, 32> events;
  size_t count = context_.transport->poll(events);
  for (size_t i = 0; i < count; ++i) {
    const TransportEvent& event = events[i];
    switch (event.kind) {
      case TransportEvent::Kind::kPutDone:
        own_lane(static_cast<int>(event.token))->put_finished();
        break;
      case TransportEvent::Kind::kArrival:
        arrivals_.chunk_plus_one[event.tag.landing] = event.tag.chunk + 1;
        arrivals_.signature[event.tag.landing] = event.tag.signature;
        arrivals_.peer[event.tag.landing] = event.peer;
        break;
      case TransportEvent::Kind::kPeerLost:
        lost_since_ns_[static_cast<size_t>(event.peer)] = context_.clock.now_ns();
        any_lost_ = true;
        break;
    }
  }
  return count > 0;
}

bool Executor::poll_pool() {
  std::array<Token, 32> finished;
  size_t count = context_.pool.poll(finished);
  for (size_t i = 0; i < count; ++i) add_finished(finished[i]);
  return count > 0;
}

Lane* Executor::own_lane(int idx) { return &lanes_[static_cast<size_t>((idx - me_) / num_local_)]; }

void Executor::add_finished(Token token) { own_lane(static_cast<int>(token))->add_finished(); }

bool Executor::move_operations() {
  bool moved = false;
  bool fed = true;  // copies of an operation are queued after all copies of the one before
  for (uint64_t n = completed_.load(std::memory_order_relaxed); n < running_ && !failed(); ++n) {
    Operation& o = op(n);
    if (o.state != OpState::kRunning) continue;
    switch (o.path) {
      case OpPath::kFlat:
        moved |= step_flat(o);
        break;
      case OpPath::kDirect:
        moved |= step_direct(o);
        break;
      case OpPath::kLanes:
        if (fed) moved |= feed_copies(o);
        fed &= o.copied_in == o.num_chunks && o.copied_out == o.num_chunks;
        break;
    }
  }
  if (open_lane_ops_ == 0) return moved;
  for (Lane& lane : lanes_) {
    if (failed()) break;
    moved |= lane.advance(*this);
  }
  return moved;
}

CopyDescriptor Executor::copy_in(const Operation& o, uint64_t idx) const {
  const Staging& staging = context_.staging;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % window);
  CopyDescriptor copy;
  copy.dst = staging.input(lane, me_);
  copy.src = static_cast<const std::byte*>(o.desc.send) + o.chunk_offset(chunk);
  copy.bytes = o.chunk_size(chunk);
  if (chunk >= window) {
    copy.wait = &staging.added(lane);
    copy.wait_value = chunk - window + 1;
  }
  copy.signal = &staging.landed(lane, me_);
  copy.signal_value = chunk + 1;
  return copy;
}

CopyDescriptor Executor::copy_out(const Operation& o, uint64_t idx) const {
  const Staging& staging = context_.staging;
  const uint64_t chunk = o.first_chunk + idx;
  const int lane = static_cast<int>(chunk % static_cast<uint64_t>(staging.shape().window));
  CopyDescriptor copy;
  copy.dst = static_cast<std::byte*>(o.desc.recv) + o.chunk_offset(chunk);
  copy.src = staging.result(lane);
  copy.bytes = o.chunk_size(chunk);
  copy.wait = &staging.published(lane);
  copy.wait_value = chunk + 1;
  copy.signal = &staging.drained(lane, me_);
  copy.signal_value = chunk + 1;
  copy.streaming = o.bytes >= context_.limits.streaming_bytes;
  return copy;
}

bool Executor::feed_copies(Operation& o) {
  const Staging& staging = context_.staging;
  const auto window = static_cast<uint64_t>(staging.shape().window);
  const bool in_place = context_.device.host_accessible();
  // My own entry of sends is my own buffer when the CPU can read it; peers see the post.
  const bool peers_read =
      (staging.post(me_, o.number).flags & (Post::kSendDirect | Post::kPublished)) != 0;
  bool moved = false;

  if (o.copied_in == 0 && (peers_read || (in_place && num_local_ == 1))) o.copied_in = o.num_chunks;
  for (; o.copied_in < o.num_chunks; ++o.copied_in, moved = true) {
    int lane = static_cast<int>((o.first_chunk + o.copied_in) % window);
    if (in_place && lane % num_local_ == me_) continue;
    if (!context_.device.submit(CopyDirection::kIn, copy_in(o, o.copied_in))) break;
  }

  if (in_place && num_local_ == 1) o.copied_out = o.num_chunks;
  for (; o.copied_out < o.num_chunks; ++o.copied_out, moved = true) {
    uint64_t chunk = o.first_chunk + o.copied_out;
    int lane = static_cast<int>(chunk % window);
    if (lane % num_local_ == me_ && context_.owner_keeps_result() &&
        has_final_add(o.schedule(chunk, context_.schedules.butterfly))) {
      continue;
    }
    if (!context_.device.submit(CopyDirection::kOut, copy_out(o, o.copied_out))) break;
    o.copy_out_end = chunk + 1;
  }
  return moved;
}

Operation* Executor::find_chunk(uint64_t chunk, uint64_t& from) {
  from = std::max(from, completed_.load(std::memory_order_relaxed));
  for (; from < running_; ++from) {
    Operation& o = op(from);
    if (o.path != OpPath::kLanes) continue;
    if (o.has_chunk(chunk)) return &o;
    if (chunk < o.first_chunk) return nullptr;
  }
  return nullptr;
}

bool Executor::lanes_finished(const Operation& o) const {
  if (o.retired < o.owned || o.copied_out < o.num_chunks || o.copied_in < o.num_chunks)
    return false;
  if (o.copy_out_end == 0) return true;
  // The copy-out queue runs in order: its last chunk stands for all.
  int lane = static_cast<int>((o.copy_out_end - 1) %
                              static_cast<uint64_t>(context_.staging.shape().window));
  return context_.staging.drained(lane, me_).load() >= o.copy_out_end;
}

bool Executor::complete_operations() {
  bool moved = false;
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  // Each is looked at, not just the first: a lane operation that is finished no longer needs its
  // queues polled.
  for (uint64_t n = completed; n < running_ && !failed(); ++n) {
    Operation& o = op(n);
    if (o.state == OpState::kRunning && o.path == OpPath::kLanes && lanes_finished(o)) {
      o.state = OpState::kDone;
      --open_lane_ops_;
    }
    if (o.state == OpState::kDone && n == completed) {
      if (o.timed_from_ns != 0) {
        tuner_.record(o.bytes, o.path == OpPath::kDirect,
                      context_.clock.now_ns() - o.timed_from_ns);
      }
      ++completed;
      moved = true;
    }
  }
  if (moved && !failed()) completed_.store(completed, std::memory_order_release);
  return moved;
}

void Executor::fail(const Failure& failure) {
  if (failed()) return;
  publish_failure(context_.staging.failure(), failure);
  failure_ = failure;
  context_.device.cancel();
  if (context_.transport != nullptr) context_.transport->stop();
  leave_buffers();
  failed_.store(true, std::memory_order_release);
}

void Executor::fail_device(const Status& status) {
  fail({Status(status.code(), cat("rank ", context_.shape.rank, " (node ", context_.shape.node,
                                  "): ", status.message())),
        context_.shape.rank});
}

void Executor::leave_buffers() {
  // Others may be adding from or into this rank's buffers. They look at the failure cell after
  // raising their flag, so once every flag is down nobody starts again. A dead process lowers
  // nothing any more, and a stopped one is not waited for.
  if (!context_.one_process && !context_.peer_memory.available()) return;
  context_.staging.busy(me_).value.store(0, std::memory_order_seq_cst);
  const uint64_t until = context_.clock.now_ns() + kStoppedPeerNs;
  for (int r = 0; r < num_local_; ++r) {
    Waiter waiter(WaitPolicy{.spin_ns = 1000, .sleep_after_ns = UINT64_MAX});
    while (context_.staging.busy(r).value.load(std::memory_order_seq_cst) != 0) {
      if (!context_.one_process &&
          (context_.clock.now_ns() > until || !context_.peer_memory.alive(r))) {
        break;
      }
      waiter.pause();
    }
  }
}

Wait Executor::what_waits(const Operation& o) const {
  const Shape& shape = context_.shape;
  auto rank_of = [&](int local) { return shape.nodes[static_cast<size_t>(shape.node)][local]; };
  if (o.state == OpState::kPosted) return {rank_of(o.posts_seen), "starting it"};
  if (o.path != OpPath::kLanes) {
    for (int r = 0; r < num_local_; ++r) {
      const Counter& counter =
          o.path == OpPath::kFlat ? context_.staging.read(r) : context_.staging.sliced(r);
      if (counter.load() < o.number + 1) return {rank_of(r), "adding its part"};
    }
    return {};
  }
  for (const Lane& lane : lanes_) {
    if (!o.has_chunk(lane.chunk())) continue;
    Wait wait = lane.waits_for(o);
    if (wait.rank >= 0 && wait.rank != shape.rank) return wait;
  }
  // Nothing of my own is held up, so it is another owner's sum, or a slot, that does not come.
  const auto window = static_cast<uint64_t>(context_.staging.shape().window);
  for (uint64_t chunk = o.first_chunk; chunk < o.first_chunk + o.num_chunks; ++chunk) {
    int lane = static_cast<int>(chunk % window);
    if (context_.staging.published(lane).load() >= chunk + 1) continue;
    return {shape.owner(shape.node, lane),
            cat("the sum of chunk ", chunk - o.first_chunk, " of ", o.num_chunks)};
  }
  return {};
}

std::optional<Executor::Stall> Executor::check(uint64_t now_ns) {
  if (failed()) return std::nullopt;
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  const uint64_t submitted = submitted_.load(std::memory_order_relaxed);
  for (uint64_t n = completed; n < submitted; ++n) {
    Operation& o = op(n);
    if (o.started_ns == 0 && input_ready(o)) o.started_ns = now_ns;
  }
  if (completed == submitted) return std::nullopt;
  // An input that has not come for so long may have died with its device.
  Operation& oldest_op = op(completed);
  if (oldest_op.submitted_ns == 0) oldest_op.submitted_ns = now_ns;
  const bool late = now_ns > oldest_op.submitted_ns + context_.limits.timeout_ns;
  if (Status health = context_.device.health(late && oldest_op.started_ns == 0); !health.ok()) {
    fail_device(health);
    return std::nullopt;
  }
  if (late && oldest_op.started_ns == 0) oldest_op.submitted_ns = now_ns;
  const Operation& first = op(completed);
  if (any_lost_ && first.state == OpState::kRunning && first.path == OpPath::kLanes) {
    for (const Lane& lane : lanes_) {
      if (!first.has_chunk(lane.chunk())) continue;
      Wait wait = lane.waits_for(first);
      if (wait.rank < 0) continue;
      uint64_t since = lost_since_ns_[static_cast<size_t>(wait.rank)];
      if (since != 0 && now_ns > since + kLostPeerGraceNs) {
        wait.stage += ": " + context_.transport->peer_error(wait.rank);
        return Stall{true, std::move(wait), operation_text(first)};
      }
    }
  }
  if (first.started_ns == 0 || now_ns < first.started_ns + context_.limits.timeout_ns)
    return std::nullopt;
  return oldest();
}

std::optional<Executor::Stall> Executor::oldest() const {
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  if (completed == submitted_.load(std::memory_order_relaxed)) return std::nullopt;
  const Operation& first = op(completed);
  return Stall{false, first.state == OpState::kQueued ? Wait{} : what_waits(first),
               operation_text(first)};
}

}  // namespace hfr
