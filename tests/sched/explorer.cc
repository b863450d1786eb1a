#include "explorer.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace hfr {
namespace {

size_t idx(int i) { return static_cast<size_t>(i); }

int landing_of(const SlotRef& slot, int generation) {
  if (slot.kind == SlotKind::kChild) return 1 + slot.idx;
  if (slot.kind == SlotKind::kRound) return 1 + kMaxChildren + 2 * slot.idx + generation % 2;
  return 0;
}

bool lands(const SlotRef& slot) {
  return slot.kind == SlotKind::kChild || slot.kind == SlotKind::kRound;
}

bool reads_local(const Step& step) {
  return std::any_of(step.srcs.begin(), step.srcs.end(),
                     [](const SlotRef& src) { return src.kind == SlotKind::kLocal; });
}

int occurrences(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

Explorer::Explorer(std::vector<ScheduleSet> chunks, size_t max_states)
    : chunks_(std::move(chunks)), max_states_(max_states) {
  num_landings_ =
      1u + kMaxChildren + 2u * idx(butterfly_rounds(static_cast<int>(chunks_[0].size())));
}

std::string Explorer::run() {
  State start;
  for (size_t node = 0; node < chunks_[0].size(); ++node) {
    Node fresh;
    fresh.memory.assign(num_landings_, value("rubbish"));
    fresh.arrived.assign(num_landings_, 0);
    start.nodes.push_back(std::move(fresh));
  }
  settle(start);
  std::vector<State> open = {start};
  seen_.insert(key(start));
  while (!open.empty() && complete()) {
    const State state = std::move(open.back());
    open.pop_back();
    std::vector<State> next = successors(state);
    if (fault_.empty() && next.empty() && !finished(state)) fault_ = "a run cannot go on";
    if (!fault_.empty()) return fault_;
    for (State& after : next) {
      if (seen_.insert(key(after)).second) open.push_back(std::move(after));
    }
  }
  return {};
}

// Does the steps that cannot harm by being early: a put's bytes may leave and arrive as late as
// they like.
void Explorer::settle(State& state) const {
  for (int node = 0; node < static_cast<int>(state.nodes.size()); ++node) {
    Node& me = state.nodes[idx(node)];
    while (me.generation < static_cast<int>(chunks_.size())) {
      const Step* step = next_step(state, node);
      if (step == nullptr) {
        if (has_unsent(state, node)) break;
        ++me.generation;
        me.step = 0;
        continue;
      }
      if (step->kind == StepKind::kAdd) break;
      if (step->kind == StepKind::kReceive && me.arrived[0] < me.generation + 1) break;
      if (step->kind == StepKind::kPublish) me.copy_out = me.generation;
      if (step->kind == StepKind::kPut) {
        state.messages.push_back(
            {node, step->peer, landing_of(step->dst, me.generation), me.generation});
      }
      ++me.step;
    }
  }
}

std::vector<Explorer::State> Explorer::successors(const State& state) {
  std::vector<State> next;
  auto take = [&](State&& after) {
    settle(after);
    next.push_back(std::move(after));
  };
  for (int node = 0; node < static_cast<int>(state.nodes.size()); ++node) {
    if (can_add(state, node)) {
      State after = state;
      do_add(after, node);
      take(std::move(after));
    }
    if (state.nodes[idx(node)].copy_out >= 0) {
      State after = state;
      copy_out(after, node);
      take(std::move(after));
    }
  }
  for (size_t i = 0; i < state.messages.size(); ++i) {
    const Message& message = state.messages[i];
    const int source =
        message.payload >= 0 ? message.payload : state.nodes[idx(message.sender)].memory[0];
    auto change = [&](bool deliver) {
      State after = state;
      Message& moved = after.messages[i];
      if (deliver) {
        Node& to = after.nodes[idx(message.receiver)];
        to.memory[idx(message.landing)] = source;
        to.arrived[idx(message.landing)] = message.generation + 1;
        moved.delivered = true;
      } else {
        moved.payload = source;
      }
      if (moved.delivered && moved.payload >= 0) {
        after.messages.erase(after.messages.begin() + static_cast<std::ptrdiff_t>(i));
      }
      take(std::move(after));
    };
    if (!message.delivered) change(true);
    if (message.payload < 0) change(false);
  }
  return next;
}

bool Explorer::can_add(const State& state, int node) const {
  const Node& me = state.nodes[idx(node)];
  if (me.generation == static_cast<int>(chunks_.size())) return false;
  const Step* step = next_step(state, node);
  if (step == nullptr || step->kind != StepKind::kAdd) return false;
  if (reads_local(*step) ? me.copy_out >= 0 : has_unsent(state, node)) return false;
  return std::all_of(step->srcs.begin(), step->srcs.end(), [&](const SlotRef& src) {
    return !lands(src) || me.arrived[idx(landing_of(src, me.generation))] >= me.generation + 1;
  });
}

void Explorer::do_add(State& state, int node) {
  Node& me = state.nodes[idx(node)];
  const Step& step = *next_step(state, node);
  std::string sum = "(";
  for (const SlotRef& src : step.srcs) {
    sum += src.kind == SlotKind::kLocal
               ? cat("[", node, " of ", me.generation, "]")
               : values_[idx(me.memory[idx(landing_of(src, me.generation))])];
  }
  me.memory[0] = value(sum + ")" + (step.final ? "/" : ""));
  ++me.step;
}

void Explorer::copy_out(State& state, int node) {
  Node& me = state.nodes[idx(node)];
  const std::string& got = values_[idx(me.memory[0])];
  const int num_nodes = static_cast<int>(state.nodes.size());
  bool right =
      occurrences(got, "[") == num_nodes && occurrences(got, "/") == 1 && got.back() == '/';
  for (int from = 0; from < num_nodes; ++from) {
    right = right && occurrences(got, cat("[", from, " of ", me.copy_out, "]")) == 1;
  }
  const int first = sums_.try_emplace(me.copy_out, me.memory[0]).first->second;
  if (!right) {
    fault_ = cat("node ", node, " copied out ", got, " for generation ", me.copy_out);
  } else if (first != me.memory[0]) {
    fault_ = cat("node ", node, " copied out ", got, " and another node ", values_[idx(first)]);
  }
  me.copy_out = -1;
}

const Step* Explorer::next_step(const State& state, int node) const {
  const Node& me = state.nodes[idx(node)];
  const std::vector<Step>& steps = chunks_[idx(me.generation)][idx(node)].steps;
  return idx(me.step) < steps.size() ? &steps[idx(me.step)] : nullptr;
}

bool Explorer::has_unsent(const State& state, int node) const {
  return std::any_of(state.messages.begin(), state.messages.end(), [&](const Message& message) {
    return message.sender == node && message.payload < 0;
  });
}

bool Explorer::finished(const State& state) const {
  return std::all_of(state.nodes.begin(), state.nodes.end(), [&](const Node& node) {
    return node.generation == static_cast<int>(chunks_.size());
  });
}

int Explorer::value(const std::string& text) {
  auto [known, is_new] = value_numbers_.try_emplace(text, static_cast<int>(values_.size()));
  if (is_new) values_.push_back(text);
  return known->second;
}

std::string Explorer::key(const State& state) const {
  std::string key;
  auto put = [&](int number) {
    key.push_back(static_cast<char>(number & 0xff));
    key.push_back(static_cast<char>((number >> 8) & 0xff));
  };
  for (const Node& node : state.nodes) {
    put(node.generation);
    put(node.step);
    put(node.copy_out);
    for (int held : node.memory) put(held);
    for (int arrived : node.arrived) put(arrived);
  }
  std::vector<Message> messages = state.messages;
  std::sort(messages.begin(), messages.end());
  for (const Message& message : messages) {
    for (int part : {message.sender, message.receiver, message.landing, message.generation,
                     message.payload, message.delivered ? 1 : 0}) {
      put(part);
    }
  }
  return key;
}

}  // namespace hfr
