#include "sim/flows.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace hfr::sim {
namespace {

// Rates and loads that differ by less are equal.
constexpr double kEqual = 1e-9;

}  // namespace

ResourceId FlowNetwork::add_resource(double capacity_per_s) {
  resources_.emplace_back();
  resources_.back().capacity = capacity_per_s;
  return static_cast<ResourceId>(resources_.size() - 1);
}

void FlowNetwork::set_capacity(ResourceId id, double capacity_per_s) {
  resources_[id].capacity = capacity_per_s;
  for (const Member& member : resources_[id].members) flows_[member.flow].bottleneck = kNone;
  mark_dirty(id);
}

void FlowNetwork::mark_dirty(ResourceId id) {
  if (resources_[id].dirty) return;
  resources_[id].dirty = true;
  dirty_.push_back(id);
}

FlowId FlowNetwork::start(std::span<const Use> uses, double bytes, FlowToken token, SimTime now) {
  FlowId id;
  if (free_.empty()) {
    id = static_cast<FlowId>(flows_.size());
    flows_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Flow& flow = flows_[id];
  flow.rate = 0;
  flow.bottleneck = kNone;
  flow.num_uses = 0;
  flow.bytes = flow.remaining = bytes;
  flow.updated = now;
  flow.end = kNever;
  flow.order = num_started_++;
  flow.token = token;
  for (const Use& use : uses) {
    if (use.cost <= 0) continue;
    const auto begin = flow.uses.begin();
    const auto end = begin + flow.num_uses;
    const auto same =
        std::find_if(begin, end, [&](const FlowUse& u) { return u.resource == use.resource; });
    if (same != end) {
      same->cost += use.cost;
      continue;
    }
    assert(flow.num_uses < kMaxUses);
    flow.uses[flow.num_uses++] = {use.resource, 0, use.cost};
  }
  assert(flow.num_uses > 0);
  for (uint32_t i = 0; i < flow.num_uses; ++i) {
    FlowUse& use = flow.uses[i];
    std::vector<Member>& members = resources_[use.resource].members;
    use.position = static_cast<uint32_t>(members.size());
    members.push_back({id, use.cost});
    mark_dirty(use.resource);
  }
  heap_.push_back(id);
  flow.heap_position = static_cast<uint32_t>(heap_.size() - 1);
  sift(flow.heap_position);
  return id;
}

void FlowNetwork::remove(FlowId id, double moved) {
  Flow& flow = flows_[id];
  for (uint32_t i = 0; i < flow.num_uses; ++i) {
    const FlowUse& use = flow.uses[i];
    Resource& resource = resources_[use.resource];
    resource.used += use.cost * moved;
    const Member last = resource.members.back();
    resource.members[use.position] = last;
    resource.members.pop_back();
    if (last.flow != id) {
      Flow& other = flows_[last.flow];
      for (uint32_t k = 0; k < other.num_uses; ++k) {
        if (other.uses[k].resource == use.resource) other.uses[k].position = use.position;
      }
    }
    mark_dirty(use.resource);
  }
  const size_t hole = flow.heap_position;
  const FlowId last = heap_.back();
  heap_.pop_back();
  if (last != id) {
    place(hole, last);
    sift(hole);
  }
  free_.push_back(id);
}

void FlowNetwork::stop(FlowId id, SimTime now) {
  const Flow& flow = flows_[id];
  const double left = flow.remaining - flow.rate * seconds(now - flow.updated);
  remove(id, flow.bytes - std::max(left, 0.0));
}

SimTime FlowNetwork::next_end(SimTime now) {
  settle(now);
  return heap_.empty() ? kNever : flows_[heap_.front()].end;
}

std::optional<FlowToken> FlowNetwork::take_ended(SimTime now) {
  if (heap_.empty() || flows_[heap_.front()].end > now) return std::nullopt;
  const FlowId id = heap_.front();
  const FlowToken token = flows_[id].token;
  remove(id, flows_[id].bytes);
  return token;
}

double FlowNetwork::rate(FlowId id, SimTime now) {
  settle(now);
  return flows_[id].rate;
}

void FlowNetwork::settle(SimTime now) {
  for (size_t i = 0; i < dirty_.size(); ++i) {
    if (resources_[dirty_[i]].dirty) settle_from(dirty_[i], now);
  }
  dirty_.clear();
}

void FlowNetwork::settle_from(ResourceId first, SimTime now) {
  ++settling_;
  affected_.clear();
  resources_[first].dirty = false;
  for (const Member& member : resources_[first].members) {
    const Flow& flow = flows_[member.flow];
    if (flow.bottleneck == first || flow.bottleneck == kNone) take_up(member.flow);
  }
  if (affected_.empty()) return;
  do {
    fill();
  } while (find_broken());
  apply(now);
}

void FlowNetwork::take_up(FlowId id) {
  if (flows_[id].affected == settling_) return;
  flows_[id].affected = settling_;
  flows_[id].has_rate = false;
  affected_.push_back(id);
}

// What is left of the resource for affected flows.
void FlowNetwork::touch(ResourceId id) {
  Resource& resource = resources_[id];
  if (resource.touched == pass_) return;
  resource.touched = pass_;
  touched_.push_back(id);
  resource.residual = resource.capacity;
  resource.open_cost = 0;
  resource.num_open = 0;
  for (const Member& member : resource.members) {
    const Flow& flow = flows_[member.flow];
    if (flow.affected == settling_) {
      resource.open_cost += member.cost;
      ++resource.num_open;
    } else {
      resource.residual -= member.cost * flow.rate;
    }
  }
  resource.residual = std::max(resource.residual, 0.0);
}

// Gives all affected flows rates, beside the others' as they are: the resource that is used up
// first settles its flows, and so on.
void FlowNetwork::fill() {
  ++pass_;
  touched_.clear();
  for (FlowId id : affected_) {
    flows_[id].has_rate = false;
    for (uint32_t i = 0; i < flows_[id].num_uses; ++i) touch(flows_[id].uses[i].resource);
  }
  for (size_t left = affected_.size(); left > 0;) {
    ResourceId tightest = kNone;
    double level = 0;
    for (ResourceId id : touched_) {
      const Resource& resource = resources_[id];
      if (resource.num_open == 0) continue;
      const double its = resource.residual / resource.open_cost;
      if (tightest == kNone || its < level) {
        tightest = id;
        level = its;
      }
    }
    for (const Member& member : resources_[tightest].members) {
      Flow& flow = flows_[member.flow];
      if (flow.affected != settling_ || flow.has_rate) continue;
      flow.has_rate = true;
      flow.new_rate = level;
      flow.new_bottleneck = tightest;
      --left;
      for (uint32_t i = 0; i < flow.num_uses; ++i) {
        Resource& resource = resources_[flow.uses[i].resource];
        resource.residual = std::max(resource.residual - flow.uses[i].cost * level, 0.0);
        resource.open_cost -= flow.uses[i].cost;
        --resource.num_open;
      }
    }
  }
}

// Takes up the flows that the new rates leave without a bottleneck, or that stand in another's.
// True when there are any.
bool FlowNetwork::find_broken() {
  const size_t before = affected_.size();
  for (ResourceId id : touched_) {
    const Resource& resource = resources_[id];
    double load = 0;
    double fastest = 0;
    double level = -1;  // of affected flows that have their bottleneck here
    size_t num_affected = 0;
    for (const Member& member : resource.members) {
      const Flow& flow = flows_[member.flow];
      const bool affected = flow.affected == settling_ && flow.has_rate;
      const double rate = affected ? flow.new_rate : flow.rate;
      load += member.cost * rate;
      fastest = std::max(fastest, rate);
      num_affected += affected ? 1 : 0;
      if (affected && flow.new_bottleneck == id) level = std::max(level, rate);
    }
    if (num_affected == resource.members.size()) continue;
    const bool used_up = load >= resource.capacity * (1 - kEqual);
    for (const Member& member : resource.members) {
      const Flow& flow = flows_[member.flow];
      if (flow.affected == settling_) continue;
      const bool lost_bottleneck =
          flow.bottleneck == id && (!used_up || flow.rate < fastest * (1 - kEqual));
      const bool in_the_way = level >= 0 && flow.rate > level * (1 + kEqual);
      if (flow.bottleneck == kNone || lost_bottleneck || in_the_way) take_up(member.flow);
    }
  }
  return affected_.size() > before;
}

void FlowNetwork::apply(SimTime now) {
  for (ResourceId id : touched_) resources_[id].dirty = false;
  for (FlowId id : affected_) {
    Flow& flow = flows_[id];
    flow.bottleneck = flow.new_bottleneck;
    if (flow.new_rate == flow.rate) continue;
    flow.remaining = std::max(flow.remaining - flow.rate * seconds(now - flow.updated), 0.0);
    flow.updated = now;
    flow.rate = flow.new_rate;
    flow.end =
        flow.rate > 0
            ? now + static_cast<SimTime>(std::ceil(flow.remaining / flow.rate * kPsPerSecond))
            : kNever;
    sift(flow.heap_position);
  }
}

bool FlowNetwork::before(FlowId a, FlowId b) const {
  const Flow& x = flows_[a];
  const Flow& y = flows_[b];
  return x.end != y.end ? x.end < y.end : x.order < y.order;
}

void FlowNetwork::place(size_t position, FlowId id) {
  heap_[position] = id;
  flows_[id].heap_position = static_cast<uint32_t>(position);
}

void FlowNetwork::sift(size_t position) {
  const FlowId id = heap_[position];
  while (position > 0 && before(id, heap_[(position - 1) / 2])) {
    place(position, heap_[(position - 1) / 2]);
    position = (position - 1) / 2;
  }
  for (size_t child = 2 * position + 1; child < heap_.size(); child = 2 * position + 1) {
    if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], id)) break;
    place(position, heap_[child]);
    position = child;
  }
  place(position, id);
}

}  // namespace hfr::sim
