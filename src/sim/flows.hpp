// FlowNetwork: bytes that flow through shared resources, at max-min fair rates.
//
// A flow uses each of its resources by a cost: units of the resource for each of its bytes. All
// flows move at the largest rates at which no resource gives more than its capacity, and at which
// no flow could go faster without slowing one that is no faster: each has a *bottleneck*, a
// resource that is used up and in which no other flow is faster.
//
// When flows begin and end, rates are worked out again only as far as they change: from the flows
// whose bottleneck was touched, on to those that the change makes break the rule above, until none
// does. As the rule has one solution, the rates are those of all flows worked out together
// (tests/sim/flows_test.cc).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sim/time.hpp"

namespace hfr::sim {

using ResourceId = uint32_t;
using FlowId = uint32_t;
using FlowToken = uint64_t;

struct Use {
  ResourceId resource = 0;
  double cost = 1;
};

class FlowNetwork {
 public:
  static constexpr size_t kMaxUses = 20;

  ResourceId add_resource(double capacity_per_s);
  size_t num_resources() const { return resources_.size(); }
  double capacity(ResourceId id) const { return resources_[id].capacity; }
  void set_capacity(ResourceId id, double capacity_per_s);
  // What ended and stopped flows took of it, in its units.
  double used(ResourceId id) const { return resources_[id].used; }

  // Uses of one resource are added up; there are at most kMaxUses different ones, and at least one
  // with a cost. `bytes` > 0.
  FlowId start(std::span<const Use> uses, double bytes, FlowToken token, SimTime now);
  // Ends it where it is; take_ended() does not report it.
  void stop(FlowId id, SimTime now);

  // When the next flow ends; kNever when there is none.
  SimTime next_end(SimTime now);
  // The token of a flow that has ended by `now`, the first started first.
  std::optional<FlowToken> take_ended(SimTime now);

  // Bytes per second.
  double rate(FlowId id, SimTime now);
  size_t num_flows() const { return heap_.size(); }

 private:
  static constexpr ResourceId kNone = UINT32_MAX;

  struct Member {
    FlowId flow;
    double cost;
  };
  struct Resource {
    double capacity = 0;
    double used = 0;
    std::vector<Member> members;
    bool dirty = false;
    // While rates are worked out:
    uint64_t touched = 0;   // the pass that last touched it
    double residual = 0;    // not given away yet
    double open_cost = 0;   // of the affected flows without a rate
    uint32_t num_open = 0;  // how many they are
  };
  struct FlowUse {
    ResourceId resource;
    uint32_t position;  // in its members
    double cost;
  };
  struct Flow {
    double rate = 0;
    double new_rate = 0;
    ResourceId bottleneck = kNone;
    ResourceId new_bottleneck = kNone;
    uint64_t affected = 0;  // the settling that last took it up
    bool has_rate = false;
    uint32_t num_uses = 0;
    std::array<FlowUse, kMaxUses> uses;
    double bytes = 0;
    double remaining = 0;  // at `updated`
    SimTime updated = 0;
    SimTime end = kNever;
    uint64_t order = 0;  // of starting
    uint32_t heap_position = 0;
    FlowToken token = 0;
  };

  void mark_dirty(ResourceId id);
  void remove(FlowId id, double moved);
  void settle(SimTime now);
  void settle_from(ResourceId first, SimTime now);
  void take_up(FlowId id);
  void touch(ResourceId id);
  void fill();
  bool find_broken();
  void apply(SimTime now);

  bool before(FlowId a, FlowId b) const;
  void sift(size_t position);
  void place(size_t position, FlowId id);

  std::vector<Resource> resources_;
  std::vector<Flow> flows_;
  std::vector<FlowId> free_;
  std::vector<FlowId> heap_;  // by end, then by order
  std::vector<ResourceId> dirty_;
  uint64_t num_started_ = 0;

  uint64_t settling_ = 0;
  uint64_t pass_ = 0;
  std::vector<FlowId> affected_;
  std::vector<ResourceId> touched_;
};

}  // namespace hfr::sim
