// What breaks in a run, and how ranks find out: what comm/ does around the engine, in virtual time.
#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "sim/world_parts.hpp"

namespace hfr::sim {
namespace {

// As the communicator's: waiting ranks look around so often, and a lost peer gets this long to be
// explained by the control plane (engine/waits.cc).
constexpr SimTime kLookAround = 1000 * kPsPerUs;
constexpr SimTime kLostPeerGrace = 300'000 * kPsPerUs;

}  // namespace

void World::FaultClock::on_event(uint64_t what) {
  const Fault& fault = world_.spec_.faults[what / 2];
  if (what % 2 == 0) {
    world_.begin_fault(fault);
  } else {
    world_.end_fault(fault);
  }
}

void World::start_faults() {
  fault_clock_ = std::make_unique<FaultClock>(*this);
  for (size_t i = 0; i < spec_.faults.size(); ++i) {
    const Fault& fault = spec_.faults[i];
    loop_.in(fault.at, *fault_clock_, 2 * i);
    if (fault.until != kNever) loop_.in(fault.until, *fault_clock_, 2 * i + 1);
  }
}

void World::begin_fault(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kKill:
      return leave(rank_at(fault.where), true);
    case FaultKind::kLose:
      data_links_.cut(fault.where);
      control_links_.cut(fault.where);
      for (Rank* rank : nodes_[static_cast<size_t>(fault.where)]->ranks) leave(*rank, false);
      return;
    case FaultKind::kStop: {
      Rank& rank = rank_at(fault.where);
      if (rank.gone) return;
      if (++rank.num_stops == 1)
        rank.left_busy = std::max(rank.busy_until, loop_.now()) - loop_.now();
      if (fault.where == Control::kHost) control_->pause();
      if (fault.until == kNever) end(rank, Ending::How::kStopped);
      return set_pace(rank);
    }
    case FaultKind::kSlow: {
      Rank& rank = rank_at(fault.where);
      rank.slowness *= fault.factor;
      stretch(rank, fault.factor);
      return set_pace(rank);
    }
    case FaultKind::kIsolate:
      control_links_.cut(fault.where);
      [[fallthrough]];
    case FaultKind::kCut:
      data_links_.cut(fault.where);
      return;
  }
}

void World::end_fault(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kKill:
    case FaultKind::kLose:
      return;  // they have no end
    case FaultKind::kStop: {
      Rank& rank = rank_at(fault.where);
      if (--rank.num_stops > 0) return;
      if (rank.gone) return;
      if (fault.where == Control::kHost) control_->go_on();
      go_on(rank);
      set_pace(rank);
      look_from(rank, loop_.now());
      return wake(fault.where);
    }
    case FaultKind::kSlow: {
      Rank& rank = rank_at(fault.where);
      rank.slowness /= fault.factor;
      stretch(rank, 1 / fault.factor);
      return set_pace(rank);
    }
    case FaultKind::kIsolate:
      control_links_.restore(fault.where);
      [[fallthrough]];
    case FaultKind::kCut:
      data_links_.restore(fault.where);
      return;
  }
}

// The rank's process is gone. `heard`: its system tells the peers and the rendezvous.
void World::leave(Rank& rank, bool heard) {
  if (rank.gone) return;
  rank.gone = true;
  rank.device->cancel();
  rank.pool->cancel();
  set_pace(rank);
  end(rank, Ending::How::kGone);
  if (!heard) {
    if (rank.transport != nullptr) rank.transport->vanish();
    if (rank.place.rank == Control::kHost) control_->pause();  // for good
    return;
  }
  if (rank.transport != nullptr) rank.transport->close();
  control_->close(rank.place.rank);
}

// What is left of the sum that its own thread is at takes so many times as long.
void World::stretch(Rank& rank, double times) {
  if (!machine_->on_host()) return;  // a GPU's slow link is not its rank's thread
  const auto longer = [times](SimTime left) {
    return static_cast<SimTime>(static_cast<double>(left) * times);
  };
  rank.left_busy = longer(rank.left_busy);
  if (rank.num_stops > 0 || rank.busy_until <= loop_.now()) return;
  rank.busy_until = loop_.now() + longer(rank.busy_until - loop_.now());
  loop_.at(rank.busy_until, rank, Rank::kFree);
}

// After a stop: the sum that its thread was at is made to its end.
void World::go_on(Rank& rank) {
  if (rank.left_busy == 0) return;
  rank.busy_until = loop_.now() + std::exchange(rank.left_busy, 0);
  loop_.at(rank.busy_until, rank, Rank::kFree);
}

void World::set_pace(const Rank& rank) {
  // A GPU's copies and a NIC's puts go on without the process; in host memory its thread
  // moves all, and waits while it asks.
  const bool still = machine_->on_host() && (rank.gone || rank.num_stops > 0 || rank.asking);
  for (bool to_host : {true, false}) {
    const ResourceId link = machine_->gpu_link(rank.place.node, rank.place.local_rank, to_host);
    loop_.flows().set_capacity(link, still ? 0 : rank.link_rate / rank.slowness);
  }
}

void World::peer_lost(int rank_idx) {
  Rank& rank = rank_at(rank_idx);
  rank.lost_peer = true;
  if (has_faults()) look_from(rank, loop_.now() + kLostPeerGrace);
}

void World::look_from(Rank& rank, SimTime time) {
  if (time == kNever) return;
  // A rank that stood still may come to what is long past.
  const SimTime ticks = (std::max(time, loop_.now()) - began_) / kLookAround + 1;
  const SimTime at = began_ + ticks * kLookAround;
  if (at >= rank.next_look) return;
  rank.next_look = at;
  loop_.at(at, rank, Rank::kLook);
}

void World::look_around(Rank& rank) {
  if (rank.next_look != loop_.now()) return;  // an earlier look took its place
  rank.next_look = kNever;
  if (rank.gone || rank.num_stops > 0 || rank.ending.how != Ending::How::kRunning) return;
  Executor& executor = *rank.executor;
  const Shape& shape = rank.context->shape;
  if (rank.verdict) {
    const bool mine =
        rank.reported && rank.stall->status.message() == rank.verdict->status.message();
    return fail(rank, mine ? *rank.verdict : in_context(*rank.verdict, shape, executor.oldest()));
  }
  if (rank.asking) {
    const Failure alone = unanswered(*rank.stall, Control::kHost);
    return fail(rank, in_context(alone, shape, executor.oldest()));
  }
  const auto stall = executor.check(loop_.clock().now_ns());
  if (!stall) {
    look_from(rank, rank.lost_peer ? loop_.now() : rank.deadline());
    return;
  }
  const uint64_t timeout_ms = spec_.limits.timeout_ns / 1'000'000;
  const Failure mine = {describe_stall(*stall, shape, timeout_ms), stall->wait.rank};
  rank.asking = true;
  rank.stall = mine;
  rank.reported = stall->peer_lost;
  if (rank.reported) {
    control_->report(rank.place.rank, mine);
  } else {
    const Wait& wait = stall->wait;
    control_->stall(
        {{rank.place.rank, wait.rank, wait.stage, stall->number, wait.chunk}, mine.status});
  }
  set_pace(rank);
  look_from(rank, loop_.now() + kStallVerdictNs * kPsPerNs);
}

void World::fail(Rank& rank, const Failure& failure) {
  rank.asking = false;
  rank.executor->fail(failure);
  end(rank, Ending::How::kFailed, rank.executor->failure());
}

void World::told(int rank_idx, const Failure& failure) {
  Rank& rank = rank_at(rank_idx);
  if (rank.verdict) return;
  rank.verdict = failure;
  look_from(rank, loop_.now());
}

}  // namespace hfr::sim
