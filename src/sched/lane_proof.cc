#include "sched/lane_proof.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace hfr {
namespace {

// Landings of a lane at one node; the two copies of a round slot take turns.
size_t landing_idx(const SlotRef& slot, int generation) {
  switch (slot.kind) {
    case SlotKind::kChild:
      return 1u + slot.idx;
    case SlotKind::kRound:
      return 1u + kMaxChildren + 2u * slot.idx + static_cast<size_t>(generation % 2);
    case SlotKind::kLocal:
    case SlotKind::kResult:
      break;
  }
  return 0;
}

constexpr SlotRef kResultSlot{SlotKind::kResult};

}  // namespace

LaneProof::LaneProof(std::vector<const ScheduleSet*> chunks, uint64_t lane, uint64_t window)
    : chunks_(std::move(chunks)),
      lane_(lane),
      window_(window),
      num_nodes_(static_cast<int>(chunks_[0]->size())),
      expressions_(num_nodes_),
      nodes_(chunks_[0]->size()),
      sums_(chunks_.size(), -1) {
  const SlotRef last_round{SlotKind::kRound,
                           static_cast<uint8_t>(std::max(butterfly_rounds(num_nodes_) - 1, 0))};
  for (int node = num_nodes_ - 1; node >= 0; --node) {
    at(node).knows.assign(nodes_.size(), 0);
    at(node).landings.resize(landing_idx(last_round, 1) + 1);
    runnable_.push_back(node);
  }
}

Status LaneProof::run() {
  while (!runnable_.empty()) {
    const int node = runnable_.back();
    runnable_.pop_back();
    HFR_RETURN_IF_ERROR(advance(node));
  }
  return stuck();
}

Status LaneProof::advance(int node) {
  Node& me = at(node);
  while (me.generation < static_cast<int>(chunks_.size())) {
    const std::vector<Step>& steps = schedule(node).steps;
    if (me.step == steps.size()) {
      HFR_RETURN_IF_ERROR(retire(node));
      continue;
    }
    HFR_ASSIGN_OR_RETURN(bool moved, do_step(node, steps[me.step]));
    if (!moved) break;
    ++me.step;
  }
  return {};
}

Result<bool> LaneProof::do_step(int node, const Step& step) {
  switch (step.kind) {
    case StepKind::kAdd:
      return do_add(node, step);
    case StepKind::kPut:
      return do_put(node, step);
    case StepKind::kReceive:
      return do_receive(node, step);
    case StepKind::kPublish:
      break;
  }
  return do_publish(node);
}

Result<bool> LaneProof::do_add(int node, const Step& step) {
  Node& me = at(node);
  bool has_local = false;
  for (const SlotRef& src : step.srcs) {
    has_local = has_local || src.kind == SlotKind::kLocal;
    const bool lands = src.kind == SlotKind::kChild || src.kind == SlotKind::kRound;
    if (lands && landing(node, src, me.generation).unread < 0) return false;
  }
  if (landing(node, kResultSlot, me.generation).unread >= 0) {
    return broken(node, "would replace a final value that arrived and is not received yet");
  }
  if (me.published_generation == me.generation) {
    return broken(node, "would change the result after publishing it");
  }
  ++me.knows[static_cast<size_t>(node)];
  if (has_local) {
    me.copy_outs = false;
    for (int put : me.open_puts) {
      if (surely_read(put, me.knows)) continue;
      return broken(node, cat("would replace the sum while its put to node ", message(put).receiver,
                              " may still read it"));
    }
  } else if (me.copy_outs) {
    return broken(node, "would replace the result of the chunk before while it is copied out");
  }
  me.open_puts.clear();

  std::vector<int> terms;
  for (const SlotRef& src : step.srcs) {
    if (src.kind == SlotKind::kLocal) {
      terms.push_back(expressions_.input(node));
    } else if (src.kind == SlotKind::kResult) {
      HFR_RETURN_IF_ERROR(check_result_readable(node));
      terms.push_back(me.value);
    } else {
      HFR_ASSIGN_OR_RETURN(int value, read(node, src));
      terms.push_back(value);
    }
    if (expressions_.divided(terms.back())) {
      return broken(node,
                    cat("adds ", slot_text(src), ", which is final: an average has divided it"));
    }
  }
  me.value = expressions_.add(terms, step.final);
  me.value_generation = me.generation;
  me.value_at = me.knows[static_cast<size_t>(node)];
  return true;
}

Result<bool> LaneProof::do_put(int node, const Step& step) {
  Node& me = at(node);
  HFR_RETURN_IF_ERROR(check_result_readable(node));
  ++me.knows[static_cast<size_t>(node)];
  Message put;
  put.sender = node;
  put.receiver = step.peer;
  put.generation = me.generation;
  put.value = me.value;
  put.knows = me.knows;
  const int idx = static_cast<int>(messages_.size());
  messages_.push_back(std::move(put));
  me.open_puts.push_back(idx);
  HFR_RETURN_IF_ERROR(deliver(idx, step.dst));
  return true;
}

Result<bool> LaneProof::do_receive(int node, const Step& step) {
  Node& me = at(node);
  if (landing(node, step.dst, me.generation).unread < 0) return false;
  ++me.knows[static_cast<size_t>(node)];
  HFR_ASSIGN_OR_RETURN(me.value, read(node, step.dst));
  me.value_generation = me.generation;
  me.value_at = me.knows[static_cast<size_t>(node)];
  return true;
}

Result<bool> LaneProof::do_publish(int node) {
  Node& me = at(node);
  HFR_RETURN_IF_ERROR(check_result_readable(node));
  for (int from = 0; from < num_nodes_; ++from) {
    const int count = expressions_.count(me.value, from);
    if (count == 1) continue;
    return broken(
        node, count == 0 ? cat("publishes a sum without node ", from, "'s input")
                         : cat("publishes a sum with node ", from, "'s input ", count, " times"));
  }
  if (!expressions_.divided(me.value)) {
    return broken(node, "publishes a sum that no add marked final: an average would not divide it");
  }
  int& sum = sums_[static_cast<size_t>(me.generation)];
  if (sum >= 0 && sum != me.value) {
    return broken(
        node, "publishes a sum added in another order than another node's: the bits may differ");
  }
  sum = me.value;
  ++me.knows[static_cast<size_t>(node)];
  me.published_generation = me.generation;
  me.copy_outs = true;
  return true;
}

Status LaneProof::retire(int node) {
  Node& me = at(node);
  for (const Landing& landing : me.landings) {
    if (landing.unread < 0) continue;
    const Message& unread = message(landing.unread);
    if (unread.generation > me.generation) continue;
    return broken(node, cat("never reads what node ", unread.sender, " put there for chunk ",
                            chunk(unread.generation)));
  }
  me.open_puts.clear();
  me.step = 0;
  ++me.generation;
  return {};
}

Status LaneProof::deliver(int idx, const SlotRef& slot) {
  const Message& arrival = message(idx);
  const Node& reader = at(arrival.receiver);
  Landing& there = landing(arrival.receiver, slot, arrival.generation);
  auto refuse = [&](const std::string& what) { return broken(arrival.sender, what); };
  if (arrival.generation < reader.generation) {
    return refuse(cat("may arrive after node ", arrival.receiver, " has retired the chunk"));
  }
  if (there.unread >= 0 || (there.last_read >= 0 && !surely_read(there.last_read, arrival.knows))) {
    const Message& before = message(there.unread >= 0 ? there.unread : there.last_read);
    return refuse(cat("may overwrite what node ", before.sender, " put there for chunk ",
                      chunk(before.generation), " before node ", arrival.receiver, " has read it"));
  }
  if (slot.kind == SlotKind::kResult) HFR_RETURN_IF_ERROR(check_result_replaceable(arrival));
  there.unread = idx;
  runnable_.push_back(arrival.receiver);
  return {};
}

Status LaneProof::check_result_replaceable(const Message& arrival) const {
  const Node& reader = at(arrival.receiver);
  auto refuse = [&](const std::string& what) { return broken(arrival.sender, what); };
  if (reader.value_generation != arrival.generation ||
      !happened(arrival.knows, arrival.receiver, reader.value_at)) {
    return refuse(
        cat("may arrive before node ", arrival.receiver,
            " has added its part, while the result of the chunk before is copied out there"));
  }
  if (reader.published_generation == arrival.generation) {
    return refuse(
        cat("may replace the result of node ", arrival.receiver, " after it was published"));
  }
  for (int put : reader.open_puts) {
    if (surely_read(put, arrival.knows)) continue;
    return refuse(cat("may replace the sum of node ", arrival.receiver,
                      " while the put of it to node ", message(put).receiver, " still reads it"));
  }
  return {};
}

Result<int> LaneProof::read(int node, const SlotRef& slot) {
  Node& me = at(node);
  Landing& from = landing(node, slot, me.generation);
  if (from.unread < 0) return broken(node, cat("reads ", slot_text(slot), " twice"));
  Message& arrival = message(from.unread);
  if (arrival.generation != me.generation) {
    return broken(node, cat("takes what node ", arrival.sender, " sent for chunk ",
                            chunk(arrival.generation)));
  }
  if (arrival.sender != slot.from) {
    return broken(node, cat("takes what node ", arrival.sender, " sent"));
  }
  for (size_t i = 0; i < nodes_.size(); ++i) me.knows[i] = std::max(me.knows[i], arrival.knows[i]);
  arrival.read_at = me.knows[static_cast<size_t>(node)];
  from.last_read = from.unread;
  from.unread = -1;
  return arrival.value;
}

Status LaneProof::check_result_readable(int node) const {
  const Node& me = at(node);
  if (me.value_generation != me.generation) {
    return broken(node, "reads the result before this chunk has put anything there");
  }
  if (me.landings[landing_idx(kResultSlot, me.generation)].unread >= 0) {
    return broken(node,
                  "reads the result while a final value arrives there that is not received yet");
  }
  return {};
}

bool LaneProof::happened(const std::vector<int>& knows, int who, int time) {
  return knows[static_cast<size_t>(who)] >= time;
}

bool LaneProof::surely_read(int put, const std::vector<int>& knows) const {
  const Message& sent = message(put);
  return sent.read_at > 0 && happened(knows, sent.receiver, sent.read_at);
}

LaneProof::Landing& LaneProof::landing(int node, const SlotRef& slot, int generation) {
  return at(node).landings[landing_idx(slot, generation)];
}

Status LaneProof::stuck() const {
  int first = -1;
  for (int node = 0; node < num_nodes_; ++node) {
    const Node& it = at(node);
    if (it.generation == static_cast<int>(chunks_.size())) continue;
    if (first < 0 || it.generation < at(first).generation) first = node;
  }
  return first < 0 ? Status() : broken(first, "waits for ever: nobody sends what it waits for");
}

Status LaneProof::broken(int node, const std::string& what) const {
  const Node& me = at(node);
  const std::vector<Step>& steps = schedule(node).steps;
  const std::string step = me.step < steps.size()
                               ? cat("step ", me.step, " (", step_text(steps[me.step]), ")")
                               : std::string("after its last step");
  return Status(Code::kInvalidArgument,
                cat("node ", node, ", ", step, ", chunk ", chunk(me.generation), ": ", what));
}

uint64_t LaneProof::chunk(int generation) const {
  return lane_ + static_cast<uint64_t>(generation) * window_;
}

const Schedule& LaneProof::schedule(int node) const {
  return (*chunks_[static_cast<size_t>(at(node).generation)])[static_cast<size_t>(node)];
}

}  // namespace hfr
