// Schedule: the steps that one node's owner performs for one chunk. A pure value: the executor, the
// verifier and the simulator all run the same one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topo/tree.hpp"

namespace hfr {

// A place that a step reads or writes. A lane owns one of each; a child or round slot is a landing
// that a peer writes into from afar.
enum class SlotKind : uint8_t {
  kLocal,   // the node's own inputs, all local ranks: a source of kAdd only
  kResult,  // the node's sum, then the final value
  kChild,   // idx: which child; its partial sum
  kRound,   // idx: which butterfly round; the partner's sum. Two copies, by lane generation parity
};

struct SlotRef {
  SlotKind kind = SlotKind::kLocal;
  uint8_t idx = 0;
  int from = -1;  // the node that writes a landing; -1 for the node's own places
  bool operator==(const SlotRef&) const = default;
};

enum class StepKind : uint8_t {
  kAdd,  // dst = op over srcs, in their order; waits for arrivals in the sources that are landings
  kPut,  // sends srcs[0] to node `peer`'s slot `dst`
  kReceive,  // waits for the final value to arrive in dst (kResult)
  kPublish,  // the result is final: local ranks may copy it out
};

struct Step {
  StepKind kind = StepKind::kAdd;
  SlotRef dst;
  std::vector<SlotRef> srcs;
  int peer = -1;
  bool final = false;  // kAdd: the sum is complete, so an average divides here
  bool operator==(const Step&) const = default;
};

// Runs in order; a step starts when the one before is done, except that a kPut is done when it is
// posted. An add that reads local inputs also waits until the lane's last chunk was copied out; any
// other add waits until the chunk's puts have left, because it replaces what they send. A chunk is
// retired when all its steps are done and its puts have left.
struct Schedule {
  int node = 0;
  std::vector<Step> steps;
  bool operator==(const Schedule&) const = default;
};

// All nodes' schedules for one kind of chunk, by node.
using ScheduleSet = std::vector<Schedule>;

// The node computes the final value itself; else it receives it.
bool has_final_add(const Schedule& schedule);

// One schedule per node, for chunks that take `tree`.
ScheduleSet build_tree_all_reduce(const Tree& tree);

// Small messages: recursive doubling, log2(n) rounds (plus two when n is no power of two), each
// node adding in an order that gives every node the same bits.
ScheduleSet build_butterfly_all_reduce(int num_nodes);
int butterfly_rounds(int num_nodes);  // round slots a lane needs

// One step as text: "put result to node 2's child 0".
std::string step_text(const Step& step);
std::string slot_text(const SlotRef& slot);

// One line a step, for people and tests.
std::string dump(const Schedule& schedule);

}  // namespace hfr
