#include "sim/event_loop.hpp"

#include <algorithm>

namespace hfr::sim {

FlowId EventLoop::flow(std::span<const Use> uses, size_t bytes, Actor& actor, uint64_t what) {
  FlowToken token;
  if (free_tokens_.empty()) {
    token = flow_ends_.size();
    flow_ends_.emplace_back();
  } else {
    token = free_tokens_.back();
    free_tokens_.pop_back();
  }
  flow_ends_[token] = {&actor, what};
  // An empty message still passes: a thousandth of a byte takes no time.
  const double amount = bytes > 0 ? static_cast<double>(bytes) : 1e-3;
  return flows_.start(uses, amount, token, now());
}

bool EventLoop::take_events() {
  bool any = false;
  while (!timers_.empty() && timers_.top().time <= now()) {
    const Timer timer = timers_.top();
    timers_.pop();
    ++num_events_;
    timer.actor->on_event(timer.what);
    any = true;
  }
  while (const auto token = flows_.take_ended(now())) {
    const Ended ended = flow_ends_[*token];
    free_tokens_.push_back(*token);
    ++num_events_;
    ended.actor->on_event(ended.what);
    any = true;
  }
  return any;
}

bool EventLoop::step(const std::function<void()>& at_rest) {
  const SimTime timer = timers_.empty() ? kNever : timers_.top().time;
  const SimTime next = std::min(timer, flows_.next_end(now()));
  if (next == kNever) return false;
  clock_.advance_to(std::max(next, now()));
  while (take_events()) at_rest();
  return true;
}

}  // namespace hfr::sim
