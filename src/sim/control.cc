#include "sim/control.hpp"

#include "base/text.hpp"

namespace hfr::sim {
namespace {

// The order of magnitude of a message between two threads over TCP, and of one send.
constexpr SimTime kLatency = 50 * kPsPerUs;
constexpr SimTime kPerSend = 2 * kPsPerUs;
// The server looks at its clock so often.
constexpr SimTime kServerTurn = 50'000 * kPsPerUs;

constexpr uint64_t kCollected = UINT64_MAX;  // the event that ends the collecting of stalls

}  // namespace

Control::Control(EventLoop& loop, Links& links, int num_ranks, int ranks_per_node, Tell tell)
    : loop_(loop),
      links_(links),
      num_ranks_(num_ranks),
      ranks_per_node_(ranks_per_node),
      tell_(std::move(tell)),
      closed_(static_cast<size_t>(num_ranks), false) {}

void Control::send(Message message, SimTime delay) {
  messages_.push_back(std::move(message));
  loop_.in(kLatency + delay, *this, messages_.size() - 1);
}

void Control::close(int rank) {
  closed_[static_cast<size_t>(rank)] = true;
  ++num_closed_;
  if (rank != kHost) {
    return send(
        {Kind::kDeath,
         rank,
         {Status(Code::kRemoteError, cat("rank ", rank, " died: its control connection closed")),
          rank}});
  }
  const Failure death = {
      Status(
          Code::kRemoteError,
          cat("rank ", kHost, ", which hosts the rendezvous, died: its control connection closed")),
      kHost};
  for (int member = 0; member < num_ranks_; ++member) {
    if (member != kHost) send({Kind::kVerdict, member, death});
  }
}

void Control::go_on() {
  paused_ = false;
  for (uint64_t what : std::exchange(unread_, {})) loop_.in(0, *this, what);
}

void Control::on_event(uint64_t what) {
  const bool for_host = what == kCollected || messages_[what].kind != Kind::kVerdict;
  if (for_host && closed_[kHost]) return;
  if (for_host && paused_) return unread_.push_back(what);
  if (what == kCollected) {
    const StallReport& cause = find_cause(stalls_);
    return fail({cause.status, cause.wait.to});
  }
  const Message message = messages_[what];
  // A broken connection is sent over again, not closed.
  if (!links_.up(node_of(message.rank), node_of(kHost))) return links_.await(*this, what);
  take(message);
}

void Control::take(const Message& message) {
  switch (message.kind) {
    case Kind::kReport:
    case Kind::kDeath:
      return fail(message.failure);
    case Kind::kStall:
      return take_stall(message);
    case Kind::kVerdict:
      return tell_(message.rank, message.failure);
  }
}

void Control::take_stall(const Message& message) {
  if (failure_) return;
  if (stalls_.empty()) loop_.in(kStallCollectNs * kPsPerNs + kServerTurn, *this, kCollected);
  stalls_.push_back({message.wait, message.failure.status});
  const auto alive = static_cast<size_t>(num_ranks_ - num_closed_);
  if (stalls_.size() < alive) return;
  const StallReport& cause = find_cause(stalls_);
  fail({cause.status, cause.wait.to});
}

void Control::fail(const Failure& failure) {
  if (failure_) return;
  failure_ = failure;
  SimTime delay = 0;
  for (int member = 0; member < num_ranks_; ++member) {
    if (closed_[static_cast<size_t>(member)]) continue;
    send({Kind::kVerdict, member, failure}, delay);
    delay += kPerSend;
  }
}

}  // namespace hfr::sim
