#include "engine/executor.hpp"

#include <algorithm>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "base/waiter.hpp"

namespace hfr {
namespace {

// A stopped process is not waited for longer than this.
constexpr uint64_t kStoppedPeerNs = 200'000'000;

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
    ops_.back()->scales.resize(static_cast<size_t>(num_local_));
    ops_.back()->peer_sends.resize(static_cast<size_t>(num_local_));
    ops_.back()->peer_recvs.resize(static_cast<size_t>(num_local_));
  }
  context.device.time_copies(meters_.of(Stage::kCopyIn), meters_.of(Stage::kCopyOut),
                             kTimedCopyBytes);
  const StagingShape& shape = context.staging.shape();
  auto num_landings = static_cast<size_t>(shape.window * landings_per_lane(shape.num_rounds));
  arrivals_.chunk_plus_one.assign(num_landings, 0);
  arrivals_.signature.assign(num_landings, 0);
  arrivals_.checksum.assign(num_landings, 0);
  arrivals_.peer.assign(num_landings, -1);
  lost_since_ns_.assign(static_cast<size_t>(context.shape.num_ranks), 0);
  for (int lane = me_; lane < shape.window; lane += num_local_) {
    lanes_.emplace_back(context, arrivals_, meters_, lane);
  }
  for (int lane = 0; context.limits.copies_ahead != 0 && lane < shape.window; ++lane)
    added_.push_back(&context.staging.added(lane));
  if (context.limits.copy_step == 0 || context.gpu_sharers.empty()) return;
  sharers_landed_.resize(static_cast<size_t>(shape.window));
  for (int lane = 0; lane < shape.window; ++lane) {
    for (int rank : context.gpu_sharers)
      sharers_landed_[static_cast<size_t>(lane)].push_back(&context.staging.landed(lane, rank));
  }
}

std::optional<uint64_t> Executor::submit(const OpDescriptor& desc) {
  uint64_t number = submitted_.load(std::memory_order_relaxed);
  if (number - completed_.load(std::memory_order_relaxed) >= kMaxSubmitted) return std::nullopt;
  Operation& o = op(number);
  o.desc = desc;
  if (desc.bounced && desc.graph == nullptr) {
    o.desc.bounce = context_.device.user_side()->take_bounce();
    if (o.desc.bounce == nullptr) return std::nullopt;
    o.desc.send = o.desc.recv = o.desc.bounce->data;
  }
  o.number = number;
  o.signature =
      make_signature(desc.count, desc.dtype, desc.op, desc.graph != nullptr && !desc.bounced);
  o.bytes = desc.count * dtype_size(desc.dtype);
  o.state = OpState::kQueued;
  o.started_ns = o.submitted_ns = o.posted_ns = o.range = 0;
  if (context_.recorder != nullptr) context_.recorder->called(number, o.signature);
  if (is_staged(o)) lay_out_chunks(o);
  meters_.bytes.add(o.bytes);
  o.ready.store(desc.ready, std::memory_order_release);
  submitted_.store(number + 1, std::memory_order_relaxed);
  return number;
}

std::optional<uint64_t> Executor::submit_and_finish(const OpDescriptor& desc, uint32_t num_looks) {
  const uint64_t number = submitted_.load(std::memory_order_relaxed);
  const bool alone = completed_.load(std::memory_order_relaxed) == number;
  if (!alone || !desc.ready || desc.count == 0 || failed()) return submit(desc);
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  if (finishes_flat(desc, bytes)) {
    if (finish_flat(desc, number, num_looks)) return number;
    submit(desc);
    announced(op(number));
    return number;
  }
  const std::optional<uint64_t> submitted = submit(desc);
  if (submitted && takes_exchange(bytes)) {
    begin_exchange(op(number));
    run_exchange(op(number), num_looks);
  }
  return submitted;
}

void Executor::set_ready(uint64_t number) {
  op(number).ready.store(true, std::memory_order_release);
}

bool Executor::all_ready() {
  if (failed()) return true;  // nothing is asked for any more: buffers may be gone
  for (uint64_t n = completed_.load(std::memory_order_relaxed);
       n < submitted_.load(std::memory_order_relaxed); ++n) {
    if (!input_ready(op(n))) return false;
  }
  return true;
}

bool Executor::input_ready(Operation& o) {
  if (o.ready.load(std::memory_order_acquire)) return true;
  UserSide* user = context_.device.user_side();
  Result<bool> came = o.desc.bounced ? user->bounce_came(*o.desc.bounce)
                                     : o.desc.on_device && user->input_ready(o.number);
  if (!came.ok()) fail_device(came.status());
  if (!came.ok() || !*came) return false;
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
    expect_peer();
    moved |= poll_transport();
    moved |= poll_pool();
    moved |= context_.device.poll();
    look_at_copies();
    if (const Device::CorruptedCopy* copy = context_.device.corrupted()) {
      fail_corrupted_copy(*copy);
      return false;
    }
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

void Executor::look_at_copies() {
  if (context_.trace != nullptr) context_.trace->look();
  if (context_.recorder != nullptr) context_.recorder->look();
}

void Executor::expect_peer() {
  const uint64_t oldest = completed_.load(std::memory_order_relaxed);
  if (context_.transport == nullptr || running_ != oldest + 1) return;
  const Operation& o = op(oldest);
  if (o.path != OpPath::kLanes || o.num_chunks != 1) return;
  const int idx = lane_of(o.first_chunk);
  const bool mine = idx % num_local_ == me_;
  context_.transport->expect(mine ? own_lane(idx)->awaited_peer() : Transport::kNobody);
}

bool Executor::poll_transport() {
  if (context_.transport == nullptr) return false;
  size_t count = context_.transport->poll(events_);
  for (size_t i = 0; i < count; ++i) {
    const TransportEvent& event = events_[i];
    switch (event.kind) {
      case TransportEvent::Kind::kPutDone:
        own_lane(static_cast<int>(event.token))->put_finished(event.peer);
        break;
      case TransportEvent::Kind::kArrival:
        meters_.of(Stage::kReceive).count(event.bytes);
        arrivals_.chunk_plus_one[event.tag.landing] = event.tag.chunk + 1;
        arrivals_.signature[event.tag.landing] = event.tag.signature;
        arrivals_.checksum[event.tag.landing] = event.tag.checksum;
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
        if (fed && !o.desc.undecided) moved |= feed_copies(o);
        fed &= o.all_fed();
        break;
    }
  }
  if (open_lane_ops_ == 0) return moved;
  for (Lane& lane : lanes_) {
    if (failed()) break;
    if (lane.chunk() < next_chunk_) moved |= lane.advance(*this);
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
  if (o.retired < o.owned || !o.all_fed()) return false;
  if (o.desc.graph != nullptr) {
    if (o.seen_out != o.num_chunks) return false;
  } else if (o.copy_out_end != 0) {
    // The queue to the result runs in order: its last chunk stands for all.
    const auto window = static_cast<uint64_t>(context_.staging.shape().window);
    const auto lane = static_cast<int>((o.copy_out_end - 1) % window);
    if (context_.staging.drained(lane, me_).load() < o.copy_out_end) return false;
  }
  // A rank that failed lets early copies go that should have waited: its own, into what others are
  // still to add, and those of ranks that share its streams. They advance the counters above, and
  // it publishes the failure first: so this is looked at last.
  return context_.staging.failure().state.load(std::memory_order_acquire) == 0;
}

bool Executor::complete_operations() {
  bool moved = false;
  uint64_t completed = completed_.load(std::memory_order_relaxed);
  // Each is looked at, not just the first: a lane operation that is finished no longer needs its
  // queues polled.
  for (uint64_t n = completed; n < running_ && !failed(); ++n) {
    Operation& o = op(n);
    if (o.state == OpState::kRunning && o.path == OpPath::kLanes && lanes_finished(o)) {
      look_at_copies();  // else what has just ended would be seen with the next operation
      o.state = OpState::kDone;
      --open_lane_ops_;
    }
    if (o.desc.bounced) moved |= leave_host(o);
    if (o.state == OpState::kDone && n == completed) {
      if (o.desc.bounced && o.desc.graph == nullptr)
        context_.device.user_side()->free_bounce(o.desc.bounce);
      if (o.timed_from_ns != 0) {
        tuner_.record(o.bytes, o.path == OpPath::kDirect,
                      context_.clock.now_ns() - o.timed_from_ns);
      }
      if (o.range != 0) context_.ranges->end(o.range);
      if (o.posted_ns != 0)
        meters_.of(Stage::kOperation).time(context_.clock.now_ns() - o.posted_ns);
      ++completed;
      moved = true;
    }
  }
  if (moved && !failed()) {
    if (context_.recorder != nullptr) context_.recorder->completed(completed);
    completed_.store(completed, std::memory_order_release);
  }
  return moved;
}

void Executor::fail(const Failure& failure) {
  if (failed()) return;
  publish_failure(context_.staging.failure(), failure);
  failure_ = failure;
  if (context_.recorder != nullptr) context_.recorder->failed(failure);
  // Before copies are let go: they may overwrite what puts under way still read.
  if (context_.transport != nullptr) context_.transport->stop();
  context_.device.cancel();
  for (uint64_t n = completed_.load(std::memory_order_relaxed);
       n < submitted_.load(std::memory_order_relaxed); ++n) {
    if (op(n).desc.graph != nullptr) op(n).desc.graph->open_all();
    if (op(n).range != 0) context_.ranges->end(op(n).range);
  }
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
  context_.staging.busy(me_).value.store(0, std::memory_order_seq_cst);
  const uint64_t until = context_.clock.now_ns() + kStoppedPeerNs;
  for (int r = 0; r < num_local_; ++r) {
    Waiter waiter(WaitPolicy{.spin_ns = 1000, .sleep_after_ns = UINT64_MAX});
    while (context_.staging.busy(r).value.load(std::memory_order_seq_cst) != 0) {
      const bool gone = context_.clock.now_ns() > until ||
                        (context_.peer_memory.available() && !context_.peer_memory.alive(r));
      if (gone && !context_.one_process) break;
      waiter.pause();
    }
  }
}

}  // namespace hfr
