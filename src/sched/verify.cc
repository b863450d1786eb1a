#include "sched/verify.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>

#include "base/text.hpp"

namespace hfr {
namespace {

constexpr int kUsesOfEachLane = 4;
constexpr int kNumRandomOrders = 8;

// A sum, as how often each node's input is in it and how often it was divided.
struct Value {
  std::vector<uint16_t> inputs;
  int divided = 0;
  bool operator==(const Value&) const = default;
};

struct Landing {
  bool full = false;  // arrived, not consumed
  uint64_t chunk = 0;
  Value value;
};

struct Lane {
  uint64_t chunk = 0;
  size_t step = 0;
  Value result;
  bool received = false;
  bool published = false;
  int puts_pending = 0;
  bool drained = true;  // the last published result was copied out
  std::map<int, Landing> landings;
};

struct Message {
  int lane = 0;
  uint64_t chunk = 0;
  SlotRef dst;
  Value as_posted;
};

// One order of events: smaller is sooner.
struct Order {
  enum class Kind { kForward, kBackward, kDeliverLast, kDeliverLifo, kStarve, kRandom };
  Kind kind = Kind::kForward;
  int node = 0;  // kStarve
  unsigned seed = 0;
};

int landing_key(const SlotRef& slot, uint64_t chunk, int window) {
  if (slot.kind == SlotKind::kChild) return slot.idx;
  auto copy = static_cast<int>(chunk / static_cast<uint64_t>(window) % 2);
  return 100 + 2 * slot.idx + copy;
}

class Machine {
 public:
  Machine(const std::vector<const ScheduleSet*>& train, int window, Order order)
      : train_(train),
        window_(window),
        order_(order),
        num_nodes_(static_cast<int>(train[0]->size())),
        random_(order.seed) {
    lanes_.resize(static_cast<size_t>(num_nodes_ * window));
    for (size_t i = 0; i < lanes_.size(); ++i) {
      lanes_[i].chunk = i % static_cast<size_t>(window);
      lanes_[i].result.inputs.assign(static_cast<size_t>(num_nodes_), 0);
    }
    channels_.resize(static_cast<size_t>(num_nodes_ * num_nodes_));
  }

  Status run() {
    while (true) {
      bool moved = false;
      for (int event : events()) {
        HFR_ASSIGN_OR_RETURN(bool done, perform(event));
        moved |= done;
        // All orders but the plain ones look again after each event, so that the preferred kind
        // always goes first.
        if (done && order_.kind != Order::Kind::kForward && order_.kind != Order::Kind::kBackward)
          break;
      }
      if (!moved) return finish();
    }
  }

 private:
  // Events: [0, lanes) steps, [lanes, 2 lanes) copy-outs, then deliveries by channel.
  int num_lanes() const { return num_nodes_ * window_; }
  int node_of(int event) const {
    if (event < 2 * num_lanes()) return event % num_lanes() / window_;
    return (event - 2 * num_lanes()) % num_nodes_;
  }

  const std::vector<int>& events() {
    if (events_.empty()) {
      for (int e = 0; e < 2 * num_lanes(); ++e) events_.push_back(e);
      for (int c = 0; c < num_nodes_ * num_nodes_; ++c) {
        if (c / num_nodes_ != c % num_nodes_) events_.push_back(2 * num_lanes() + c);
      }
      auto delivery = [&](int e) { return e >= 2 * num_lanes(); };
      switch (order_.kind) {
        case Order::Kind::kBackward:
          std::reverse(events_.begin(), events_.end());
          break;
        case Order::Kind::kDeliverLifo:
          std::stable_partition(events_.begin(), events_.end(), [&](int e) { return delivery(e); });
          std::reverse(events_.begin(), events_.end());
          break;
        case Order::Kind::kStarve:
          std::stable_partition(events_.begin(), events_.end(),
                                [&](int e) { return node_of(e) != order_.node; });
          break;
        default:
          break;
      }
    }
    if (order_.kind == Order::Kind::kRandom) std::shuffle(events_.begin(), events_.end(), random_);
    return events_;
  }

  Result<bool> perform(int event) {
    if (event < num_lanes()) return step(event / window_, event % window_);
    if (event < 2 * num_lanes()) return copy_out(lanes_[static_cast<size_t>(event - num_lanes())]);
    int channel = event - 2 * num_lanes();
    return deliver(channel / num_nodes_, channel % num_nodes_);
  }

  const Schedule& schedule(int node, const Lane& lane) const {
    return (*train_[lane.chunk])[static_cast<size_t>(node)];
  }
  Lane& lane_of(int node, int idx) { return lanes_[static_cast<size_t>(node * window_ + idx)]; }

  Status broken(int node, const Lane& lane, const std::string& what) const {
    std::string where = "after its last step";
    if (lane.chunk < train_.size() && lane.step < schedule(node, lane).steps.size()) {
      where = cat("step ", lane.step);
    }
    return Status(Code::kInternalError,
                  cat("node ", node, ", chunk ", lane.chunk, ", ", where, ": ", what));
  }

  static Result<bool> copy_out(Lane& lane) {
    if (lane.drained) return false;
    lane.drained = true;
    return true;
  }

  Result<bool> step(int node, int idx) {
    Lane& lane = lane_of(node, idx);
    if (lane.chunk >= train_.size()) return false;
    const std::vector<Step>& steps = schedule(node, lane).steps;
    if (lane.step == steps.size()) {
      if (lane.puts_pending > 0) return false;
      if (!lane.published) return broken(node, lane, "the schedule never publishes");
      lane.chunk += static_cast<uint64_t>(window_);
      lane.step = 0;
      lane.received = lane.published = false;
      return true;
    }
    const Step& step = steps[lane.step];
    HFR_ASSIGN_OR_RETURN(bool done, run(node, idx, lane, step));
    if (done) ++lane.step;
    return done;
  }

  Result<bool> run(int node, int idx, Lane& lane, const Step& step) {
    switch (step.kind) {
      case StepKind::kAdd:
        return add(node, lane, step);
      case StepKind::kPut:
        if (step.peer < 0 || step.peer >= num_nodes_ || step.peer == node) {
          return broken(node, lane, cat("puts to node ", step.peer));
        }
        channels_[static_cast<size_t>(node * num_nodes_ + step.peer)].push_back(
            {idx, lane.chunk, step.dst, lane.result});
        ++lane.puts_pending;
        return true;
      case StepKind::kReceive:
        return lane.received;
      case StepKind::kPublish: {
        const Value& value = lane.result;
        for (int from = 0; from < num_nodes_; ++from) {
          uint16_t times = value.inputs[static_cast<size_t>(from)];
          if (times != 1)
            return broken(
                node, lane,
                cat("publishes a value that holds node ", from, "'s input ", times, " times"));
        }
        if (value.divided != 1)
          return broken(node, lane,
                        cat("publishes a value that was divided ", value.divided, " times"));
        lane.drained = false;
        lane.published = true;
        return true;
      }
    }
    return false;
  }

  Result<bool> add(int node, Lane& lane, const Step& step) {
    bool local = false;
    for (const SlotRef& src : step.srcs) {
      local |= src.kind == SlotKind::kLocal;
      if (src.kind == SlotKind::kLocal || src.kind == SlotKind::kResult) continue;
      const Landing& landing = lane.landings[landing_key(src, lane.chunk, window_)];
      if (!landing.full || landing.chunk != lane.chunk) return false;
    }
    // The executor's own rules: the slot is free, and nobody still sends the old value.
    if (local && !lane.drained) return false;
    if (lane.puts_pending > 0) return false;
    Value sum;
    sum.inputs.assign(static_cast<size_t>(num_nodes_), 0);
    for (const SlotRef& src : step.srcs) {
      if (src.kind == SlotKind::kLocal) {
        ++sum.inputs[static_cast<size_t>(node)];
        continue;
      }
      const Value* value = &lane.result;
      if (src.kind != SlotKind::kResult) {
        Landing& landing = lane.landings[landing_key(src, lane.chunk, window_)];
        landing.full = false;
        value = &landing.value;
      }
      for (size_t i = 0; i < sum.inputs.size(); ++i) {
        sum.inputs[i] = static_cast<uint16_t>(sum.inputs[i] + value->inputs[i]);
      }
      sum.divided += value->divided;
    }
    sum.divided += step.final ? 1 : 0;
    lane.result = sum;
    return true;
  }

  Result<bool> deliver(int from, int to) {
    auto& channel = channels_[static_cast<size_t>(from * num_nodes_ + to)];
    if (channel.empty()) return false;
    Message message = channel.front();
    channel.pop_front();
    Lane& sender = lane_of(from, message.lane);
    if (!(sender.result == message.as_posted)) {
      return broken(from, sender,
                    cat("the result changed while a put of chunk ", message.chunk, " to node ", to,
                        " could still read it"));
    }
    --sender.puts_pending;
    Lane& lane = lane_of(to, message.lane);
    if (message.dst.kind == SlotKind::kResult) {
      if (lane.chunk != message.chunk) {
        return broken(to, lane,
                      cat("node ", from, "'s final value of chunk ", message.chunk,
                          " overwrites the result slot in use"));
      }
      if (lane.received) return broken(to, lane, cat("node ", from, " sends a second final value"));
      if (lane.puts_pending > 0 || !lane.drained) {
        return broken(
            to, lane,
            cat("node ", from, "'s final value overwrites a result that may still be read"));
      }
      lane.result = message.as_posted;
      lane.received = true;
      return true;
    }
    Landing& landing = lane.landings[landing_key(message.dst, message.chunk, window_)];
    if (landing.full) {
      return broken(to, lane,
                    cat("node ", from, "'s sum of chunk ", message.chunk,
                        " overwrites that of chunk ", landing.chunk, ", which nobody has read"));
    }
    if (message.chunk < lane.chunk || message.chunk > lane.chunk + static_cast<uint64_t>(window_)) {
      return broken(to, lane, cat("node ", from, " sends a sum of chunk ", message.chunk, " here"));
    }
    landing = {true, message.chunk, message.as_posted};
    return true;
  }

  Status finish() const {
    for (int node = 0; node < num_nodes_; ++node) {
      for (int idx = 0; idx < window_; ++idx) {
        const Lane& lane = lanes_[static_cast<size_t>(node * window_ + idx)];
        if (lane.chunk < train_.size()) return broken(node, lane, "waits for ever");
        for (const auto& [key, landing] : lane.landings) {
          if (landing.full)
            return broken(node, lane, cat("nobody reads what arrived for chunk ", landing.chunk));
        }
      }
    }
    return Status();
  }

  const std::vector<const ScheduleSet*>& train_;
  const int window_;
  const Order order_;
  const int num_nodes_;
  std::mt19937 random_;
  std::vector<Lane> lanes_;
  std::vector<std::deque<Message>> channels_;
  std::vector<int> events_;
};

std::vector<Order> orders(int num_nodes) {
  std::vector<Order> list = {{Order::Kind::kForward},
                             {Order::Kind::kBackward},
                             {Order::Kind::kDeliverLast},
                             {Order::Kind::kDeliverLifo}};
  // Each node starved in turn; of many nodes a sample.
  int stride = std::max(1, num_nodes / 8);
  for (int node = 0; node < num_nodes; node += stride) list.push_back({Order::Kind::kStarve, node});
  for (unsigned seed = 1; seed <= kNumRandomOrders; ++seed)
    list.push_back({Order::Kind::kRandom, 0, seed});
  return list;
}

}  // namespace

Status verify_train(const std::vector<const ScheduleSet*>& train, int window) {
  if (window < 1) return Status(Code::kInvalidArgument, cat("a window of ", window, " lanes"));
  for (const Order& order : orders(static_cast<int>(train[0]->size()))) {
    HFR_RETURN_IF_ERROR(Machine(train, window, order).run());
  }
  return Status();
}

Status verify(const std::vector<ScheduleSet>& cycle, int window) {
  const int num_trees = static_cast<int>(cycle.size());
  if (window < 1 || window % num_trees != 0) {
    return Status(Code::kInvalidArgument,
                  cat("a window of ", window, " lanes is not a multiple of the ", num_trees,
                      " trees that chunks take in turn"));
  }
  std::vector<const ScheduleSet*> train;
  for (int chunk = 0; chunk < kUsesOfEachLane * window; ++chunk) {
    train.push_back(&cycle[static_cast<size_t>(chunk % num_trees)]);
  }
  return verify_train(train, window);
}

}  // namespace hfr
