#include "engine/lane.hpp"

#include <algorithm>
#include <cstring>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "engine/add.hpp"
#include "engine/direct_guard.hpp"
#include "engine/executor.hpp"
#include "ports/checksum.hpp"

namespace hfr {
namespace {

constexpr int kResultLanding = 0;
constexpr int kFirstChildLanding = 1;
constexpr int kFirstRoundLanding = kFirstChildLanding + kMaxChildren;

size_t most_steps(const NodeSchedules& schedules) {
  size_t most = schedules.butterfly.steps.size();
  for (const Schedule& schedule : schedules.tree) most = std::max(most, schedule.steps.size());
  for (const Schedule& schedule : schedules.ring) most = std::max(most, schedule.steps.size());
  return most;
}

}  // namespace

int landings_per_lane(int num_rounds) { return kFirstRoundLanding + 2 * num_rounds; }

Lane::Lane(EngineContext& context, Arrivals& arrivals, EngineMeters& meters, int idx)
    : context_(&context),
      arrivals_(&arrivals),
      meters_(&meters),
      idx_(idx),
      first_landing_(
          static_cast<uint32_t>(idx * landings_per_lane(context.staging.shape().num_rounds))),
      chunk_(static_cast<uint64_t>(idx)),
      stages_(context, meters) {
  if (context.transport == nullptr) return;
  puts_pending_.reserve(most_steps(context.schedules));
  Transport& transport = *context.transport;
  const Staging& staging = context.staging;
  const StagingShape& shape = staging.shape();
  transport.set_landing(first_landing_ + kResultLanding, staging.result(idx), shape.slot_bytes);
  for (int i = 0; i < kMaxChildren; ++i) {
    transport.set_landing(first_landing_ + kFirstChildLanding + static_cast<uint32_t>(i),
                          staging.child(idx, i), shape.slot_bytes);
  }
  for (int r = 0; r < shape.num_rounds; ++r) {
    for (int copy = 0; copy < 2; ++copy) {
      transport.set_landing(
          first_landing_ + kFirstRoundLanding + static_cast<uint32_t>(2 * r + copy),
          staging.round(idx, r, copy), shape.round_bytes);
    }
  }
}

bool Lane::advance(Executor& executor) {
  bool moved = false;
  while (Operation* op = executor.find_chunk(chunk_, op_cursor_)) {
    if (op->stays_inside && not_drained(chunk_ + 1) >= 0) return moved;
    if (op->stays_inside || op->is_empty(chunk_)) {
      pass_over(*op);
      moved = true;
      continue;
    }
    if (!begun_) begin(*op);
    if (context_->transport != nullptr && !check_arrivals(*op, executor)) return moved;
    const std::vector<Step>& steps = schedule(*op).steps;
    while (step_ < steps.size()) {
      // A rank that failed lets its early copies go, over slots that were being added: nothing of
      // that may be passed on.
      if (context_->staging.failure().state.load(std::memory_order_acquire) != 0) return moved;
      if (!run(steps[step_], *op, executor)) return moved;
      moved = true;
      ++step_;
    }
    if (copy_to_ != nullptr) {
      std::memcpy(copy_to_, result_, op->chunk_size(chunk_));
      copy_to_ = nullptr;
    }
    if (!puts_pending_.empty()) return moved;
    free_inputs();
    ++op->retired;
    chunk_ += static_cast<uint64_t>(context_->staging.shape().window);
    ++num_carried_;
    begun_ = false;
    step_ = 0;
    moved = true;
  }
  return moved;
}

void Lane::pass_over(Operation& op) {
  context_->staging.added(idx_).store(chunk_ + 1);
  context_->staging.published(idx_).store(chunk_ + 1);
  ++op.retired;
  chunk_ += static_cast<uint64_t>(context_->staging.shape().window);
}

void Lane::put_finished(int peer) {
  const auto first = std::find_if(puts_pending_.begin(), puts_pending_.end(),
                                  [peer](const PendingPut& put) { return put.peer == peer; });
  if (first == puts_pending_.end()) return;
  stages_.end_put(peer, first->began_ns);
  puts_pending_.erase(first);
}

void Lane::begin(Operation& op) {
  begun_ = true;
  stages_.begin(op.number, chunk_, op.chunk_size(chunk_));
  waited_for_ = -1;
  inputs_free_ = false;
  result_ = context_->staging.result(idx_);
  copy_to_ = nullptr;
  if (context_->shape.num_local() == 1 && context_->device.host_accessible()) {
    // Nobody else copies out: sums and the final value go straight to the user's buffer, unless
    // each put from there would cost a copy. The peer sends the final value only after this rank's
    // contribution, so the landing is not in use now.
    std::byte* user = static_cast<std::byte*>(op.desc.recv) + op.chunk_offset(chunk_);
    const size_t bytes = op.chunk_size(chunk_);
    Transport* transport = context_->transport;
    const bool in_place = transport == nullptr || transport->sends_in_place(user, bytes);
    (in_place ? result_ : copy_to_) = user;
    if (transport != nullptr) {
      transport->set_landing(landing({SlotKind::kResult, 0}), result_, bytes);
    }
  }
  value_ = result_;
  value_checksum_.reset();
}

const Schedule& Lane::schedule(const Operation& op) const {
  return op.schedule(chunk_, context_->schedules.butterfly);
}

bool Lane::run(const Step& step, Operation& op, Executor& executor) {
  switch (step.kind) {
    case StepKind::kAdd:
      return run_add(step, op, executor);
    case StepKind::kPut:
      return run_put(step, op);
    case StepKind::kReceive:
      waited_for_ = context_->shape.owner(step.dst.from, idx_);
      if (!has_arrived(step.dst)) return await(Awaited::kFinalValue);
      stages_.end_wait(record::SpanStage::kFinalValue, waited_for_);
      if (!check_arrival(step.dst, result_, op, executor)) return false;
      value_ = result_;
      free_inputs();  // the answer proves that what was put from there has been read
      return true;
    case StepKind::kPublish:
      if (context_->checksum != nullptr) {
        context_->staging.result_checksum(idx_).store(
            checksum_word(chunk_ + 1, value_checksum(op)));
      }
      context_->staging.published(idx_).store(chunk_ + 1);
      return true;
  }
  return false;
}

bool Lane::run_add(const Step& step, Operation& op, Executor& executor) {
  if (add_ == AddState::kNone) {
    const Awaited awaited = awaited_by_add(step, op);
    if (awaited != Awaited::kNothing) return await(awaited);
    // Once, though the pool may refuse the add for many turns.
    if (!inputs_here_) stages_.end_wait(record::SpanStage::kInputs, waited_for_);
    inputs_here_ = true;
    if (!check_sources(step, op, executor)) return false;
    value_checksum_.reset();
    if (const std::byte* sole = sole_input(step, op)) {
      value_ = sole;  // nothing to add to it: it is the sum, where it lies
      inputs_here_ = false;
      sources_checked_ = false;
      return true;
    }
    if (!begin_add(step, op)) return false;
  }
  if (add_ == AddState::kUnderWay) {
    Token finished[1];
    // An inline pool is done already; another thread's work is reported to the executor.
    if (context_->pool.poll(finished) == 0) return false;
    executor.add_finished(finished[0]);
    if (add_ != AddState::kFinished) return false;
  }
  add_ = AddState::kNone;
  stages_.end_add();
  inputs_here_ = false;
  value_ = result_;
  sources_checked_ = false;
  if (!check_own_result(step, op, executor)) return false;
  if (step.final && context_->owner_keeps_result()) {
    context_->staging.drained(idx_, context_->shape.local_rank).store(chunk_ + 1);
  }
  free_inputs();
  return true;
}

Lane::Awaited Lane::awaited_by_add(const Step& step, const Operation& op) {
  bool local = false;
  for (SlotRef src : step.srcs) {
    if (src.kind == SlotKind::kLocal) {
      local = true;
    } else if (src.kind != SlotKind::kResult && !has_arrived(src)) {
      waited_for_ = context_->shape.owner(src.from, idx_);
      return Awaited::kPartialSum;
    }
  }
  // The old sum may still be read.
  if (!local) return puts_pending_.empty() ? Awaited::kNothing : Awaited::kPuts;
  auto blame = [&](int local_rank, Awaited what) {
    waited_for_ = context_->shape.nodes[context_->shape.node][local_rank];
    return what;
  };
  if (const int r = missing_input(op); r >= 0) return blame(r, Awaited::kInput);
  if (const int r = who_holds_result_slot(); r >= 0) return blame(r, Awaited::kSlot);
  return Awaited::kNothing;
}

bool Lane::brings_input(const Operation& op, int local_rank) const {
  return !op.grouped || context_->groups.is_first(local_rank);
}

const std::byte* Lane::input(const Operation& op, int from) const {
  const std::byte* direct = op.sends[static_cast<size_t>(from)];
  return direct != nullptr ? direct + op.chunk_offset(chunk_) : context_->staging.input(idx_, from);
}

const std::byte* Lane::sole_input(const Step& step, const Operation& op) const {
  // A group's sum in a slot is added all the same: a mate that fails lets copies into the slot go
  // before this rank's transport has stopped.
  const bool alone = context_->shape.num_local() == 1;
  if (!alone || step.final || step.srcs.size() != 1 || op.desc.op == Op::kPremulSum) return nullptr;
  return input(op, 0);
}

bool Lane::begin_add(const Step& step, const Operation& op) {
  const size_t chunk_bytes = op.chunk_size(chunk_);
  bool local = false;
  for (SlotRef src : step.srcs) local |= src.kind == SlotKind::kLocal;
  if (step.final && copy_to_ != nullptr && !puts_follow(op)) {
    result_ = copy_to_;
    copy_to_ = nullptr;
  }
  ReduceDescriptor work;
  work.dsts[0] = result_;
  work.num_dsts = 1;
  work.count = chunk_bytes / dtype_size(op.desc.dtype);
  work.dtype = op.desc.dtype;
  work.op = op.desc.op;
  work.divisor = step.final ? context_->shape.num_ranks : 1;
  if (step.final && context_->owner_keeps_result()) {
    std::byte* recv = static_cast<std::byte*>(op.desc.recv) + op.chunk_offset(chunk_);
    if (op.bytes >= context_->limits.streaming_bytes) {
      work.streaming_dst = recv;
    } else {
      work.dsts[work.num_dsts++] = recv;
    }
  }
  // Another process's pool sees staging only.
  const bool reads_buffers = local && op.reads_in_place;
  DirectGuard guard(*context_, reads_buffers);
  if (!guard.allowed()) return false;
  Adder adder(context_->pool, work);
  for (SlotRef src : step.srcs) {
    if (src.kind != SlotKind::kLocal) {
      adder.add_source(src.kind == SlotKind::kResult ? value_ : source(src),
                       accumulator_one(op.desc.dtype));
      continue;
    }
    for (int r = 0; r < context_->shape.num_local(); ++r) {
      if (!brings_input(op, r)) continue;
      const int from = op.grouped ? context_->groups.carrier(r, idx_) : r;
      adder.add_source(input(op, from), op.scales[static_cast<size_t>(from)]);
    }
  }
  work.streaming =
      context_->limits.stream_results && step.final && op.bytes >= context_->limits.streaming_bytes;
  work.demote = context_->limits.demote_results && step.final;
  stages_.begin_add();
  const bool small =
      chunk_bytes * static_cast<size_t>(work.num_srcs) <= context_->limits.run_here_bytes;
  if (small || reads_buffers) {
    context_->pool.run(work);  // sooner done than handed over; the guard's work ends with it
    add_ = AddState::kFinished;
    return true;
  }
  if (!context_->pool.submit(work, static_cast<Token>(idx_))) {
    stages_.give_up_add();
    return false;
  }
  add_ = AddState::kUnderWay;
  return true;
}

void Lane::free_inputs() {
  if (inputs_free_) return;
  inputs_free_ = true;
  context_->staging.added(idx_).store(chunk_ + 1);
}

bool Lane::run_put(const Step& step, Operation& op) {
  PutTag tag;
  tag.landing = landing(step.dst);
  tag.chunk = chunk_;
  tag.signature = op.signature;
  if (context_->checksum != nullptr) tag.checksum = value_checksum(op);
  int peer = context_->shape.owner(step.peer, idx_);
  if (!context_->transport->put(peer, value_, op.chunk_size(chunk_), tag,
                                static_cast<Token>(idx_))) {
    meters_->puts_refused.add(1);
    return false;
  }
  puts_pending_.push_back({peer, stages_.begin_put()});
  return true;
}

bool Lane::puts_follow(const Operation& op) const {
  const std::vector<Step>& steps = schedule(op).steps;
  return std::any_of(steps.begin() + static_cast<std::ptrdiff_t>(step_) + 1, steps.end(),
                     [](const Step& step) { return step.kind == StepKind::kPut; });
}

bool Lane::has_arrived(SlotRef slot) const {
  return arrivals_->chunk_plus_one[landing(slot)] >= chunk_ + 1;
}

bool Lane::check_arrivals(const Operation& op, Executor& executor) {
  const size_t end =
      first_landing_ + static_cast<size_t>(landings_per_lane(context_->staging.shape().num_rounds));
  for (size_t at = first_landing_; at < end; ++at) {
    if (arrivals_->chunk_plus_one[at] != chunk_ + 1 || arrivals_->signature[at] == op.signature)
      continue;
    const Shape& shape = context_->shape;
    const int rank = arrivals_->peer[at];
    executor.fail({Status(Code::kMismatch,
                          cat("operation #", op.number, ": rank ", shape.rank, " (node ",
                              shape.node, ") started an ", signature_text(op.signature), "; rank ",
                              rank, " (node ", shape.node_of_rank[static_cast<size_t>(rank)],
                              ") started an ", signature_text(arrivals_->signature[at]))),
                   rank});
    return false;
  }
  return true;
}

int Lane::missing_input(const Operation& op) const {
  int carrier = -1;
  for (int r = 0; r < context_->shape.num_local(); ++r) {
    if (op.sends[static_cast<size_t>(r)] != nullptr) continue;
    if (context_->staging.landed(idx_, r).load() >= chunk_ + 1) continue;
    if (!op.grouped || context_->groups.carrier(r, idx_) != r) return r;
    carrier = r;
  }
  return carrier;
}

int Lane::who_holds_result_slot() const {
  const auto window = static_cast<uint64_t>(context_->staging.shape().window);
  const bool alone = context_->shape.num_local() == 1 && context_->device.host_accessible();
  if (chunk_ < window || alone) return -1;  // alone: the lane itself has copied
  return not_drained(chunk_ - window + 1);
}

int Lane::not_drained(uint64_t end) const {
  for (int r = 0; r < context_->shape.num_local(); ++r) {
    if (context_->staging.drained(idx_, r).load() < end) return r;
  }
  return -1;
}

uint32_t Lane::landing(SlotRef slot) const {
  const auto copy = static_cast<uint32_t>(num_carried_ % 2);
  switch (slot.kind) {
    case SlotKind::kChild:
      return first_landing_ + kFirstChildLanding + slot.idx;
    case SlotKind::kRound:
      return first_landing_ + kFirstRoundLanding + 2u * slot.idx + copy;
    case SlotKind::kLocal:
    case SlotKind::kResult:
      break;
  }
  return first_landing_ + kResultLanding;
}

const std::byte* Lane::source(SlotRef slot) const {
  const Staging& staging = context_->staging;
  if (slot.kind == SlotKind::kChild) return staging.child(idx_, slot.idx);
  return staging.round(idx_, slot.idx, static_cast<int>(num_carried_ % 2));
}

Wait Lane::waits_inside(const Operation& op) const {
  const Shape& shape = context_->shape;
  const Staging& staging = context_->staging;
  const int carrier = context_->groups.carrier(shape.local_rank, idx_);
  auto blame = [&](int r) {
    return Wait{shape.nodes[shape.node][r], WaitStage::kGroupPart, chunk_ - op.first_chunk,
                op.num_chunks};
  };
  // Who has not pushed, else the carrier that has not added, else who has not pulled.
  for (int r = 0; r < shape.num_local(); ++r) {
    if (r != carrier && staging.landed(idx_, r).load() < chunk_ + 1) return blame(r);
  }
  if (staging.summed(idx_, carrier).load() < chunk_ + 1) return blame(carrier);
  for (int r = 0; r < shape.num_local(); ++r) {
    if (staging.drained(idx_, r).load() < chunk_ + 1) return blame(r);
  }
  return {};
}

Wait Lane::waits_for(const Operation& op) const {
  const std::vector<Step>& steps = schedule(op).steps;
  const Shape& shape = context_->shape;
  auto wait = [&](int rank, WaitStage stage) {
    return Wait{rank, stage, chunk_ - op.first_chunk, op.num_chunks};
  };
  auto taking = [&]() -> Wait {
    if (puts_pending_.empty()) return {};
    return wait(puts_pending_.front().peer, WaitStage::kTaking);
  };
  if (op.stays_inside) return waits_inside(op);
  if (step_ >= steps.size()) {
    return taking();
  }
  if (add_ == AddState::kUnderWay) {
    const int holder = context_->pool.holder(static_cast<Token>(idx_));
    if (holder < 0) return {};
    return wait(shape.nodes[shape.node][holder], WaitStage::kAdding);
  }
  const Step& step = steps[step_];
  if (step.kind == StepKind::kPut) return wait(shape.owner(step.peer, idx_), WaitStage::kTaking);
  if (step.kind == StepKind::kReceive) {
    return wait(shape.owner(step.dst.from, idx_), WaitStage::kFinalValue);
  }
  for (SlotRef src : step.srcs) {
    if (src.kind == SlotKind::kLocal) {
      const auto window = static_cast<uint64_t>(context_->staging.shape().window);
      if (const int r = missing_input(op); r >= 0) {
        return wait(shape.nodes[shape.node][r], WaitStage::kCopyIn);
      }
      auto drained = [&](int r) {
        return chunk_ < window || shape.num_local() == 1 ||
               context_->staging.drained(idx_, r).load() >= chunk_ - window + 1;
      };
      for (int r = 0; r < shape.num_local(); ++r) {
        if (drained(r)) continue;
        const int carrier = op.grouped ? context_->groups.carrier(r, idx_) : r;
        return wait(shape.nodes[shape.node][drained(carrier) ? r : carrier], WaitStage::kCopyOut);
      }
    } else if (src.kind != SlotKind::kResult && !has_arrived(src)) {
      return wait(shape.owner(src.from, idx_), WaitStage::kPartialSum);
    }
  }
  return taking();
}

}  // namespace hfr
