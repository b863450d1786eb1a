// EventLoop: what happens next in virtual time. Two kinds of events, timers and ends of flows, go
// to actors; those of one instant in the order in which they were asked for, timers first. When an
// instant has no more events, at_rest() of its listener runs, which may make more.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <span>
#include <vector>

#include "sim/flows.hpp"
#include "sim/time.hpp"

namespace hfr::sim {

class Actor {
 public:
  virtual ~Actor() = default;
  // `what` is its own word.
  virtual void on_event(uint64_t what) = 0;
};

class EventLoop {
 public:
  EventLoop() = default;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  VirtualClock& clock() { return clock_; }
  SimTime now() const { return clock_.now(); }
  FlowNetwork& flows() { return flows_; }
  const FlowNetwork& flows() const { return flows_; }

  void at(SimTime time, Actor& actor, uint64_t what) {
    timers_.push({time, num_timers_++, &actor, what});
  }
  void in(SimTime delay, Actor& actor, uint64_t what) { at(now() + delay, actor, what); }
  // The actor hears when so many bytes have flowed. None: after no time.
  FlowId flow(std::span<const Use> uses, size_t bytes, Actor& actor, uint64_t what);
  void stop(FlowId id) { flows_.stop(id, now()); }

  // Takes all events of the next instant. False when there is none.
  bool step(const std::function<void()>& at_rest);

  uint64_t num_events() const { return num_events_; }

 private:
  struct Timer {
    SimTime time;
    uint64_t order;
    Actor* actor;
    uint64_t what;
    bool operator>(const Timer& other) const {
      return time != other.time ? time > other.time : order > other.order;
    }
  };
  struct Ended {
    Actor* actor;
    uint64_t what;
  };
  bool take_events();

  VirtualClock clock_;
  FlowNetwork flows_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::vector<Ended> flow_ends_;  // by token
  std::vector<FlowToken> free_tokens_;
  uint64_t num_timers_ = 0;
  uint64_t num_events_ = 0;
};

}  // namespace hfr::sim
