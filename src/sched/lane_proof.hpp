// LaneProof: runs one lane of all nodes once and checks the order of every two accesses that must
// not meet.
//
// Lanes share nothing that a step waits for, so each is proved by itself. Each node has a clock
// that counts what it did, and knows for every other node up to which of its events all has
// happened for sure: what a message carries and its reader learns. A put hands its bytes over at
// some moment between its posting and their being read; so only a reader's event proves that the
// source is free and the landing is full.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "sched/expressions.hpp"
#include "sched/schedule.hpp"

namespace hfr {

class LaneProof {
 public:
  // Generation g of the lane is the chunk `lane + g * window` and runs chunks[g], the schedules of
  // all nodes, which must be well formed and outlive the proof.
  LaneProof(std::vector<const ScheduleSet*> chunks, uint64_t lane, uint64_t window);

  // Names the node, step and chunk that break a rule.
  Status run();

 private:
  struct Message {
    int sender = 0;
    int receiver = 0;
    int generation = 0;
    int value = 0;
    std::vector<int> knows;  // the sender's knowledge when it posted
    int read_at = 0;         // on the receiver's clock; 0: not yet
  };
  struct Landing {
    int unread = -1;  // messages
    int last_read = -1;
  };
  struct Node {
    int generation = 0;
    size_t step = 0;
    std::vector<int> knows;  // events that surely happened, by node; its own clock among them
    int value = -1;          // what the result slot holds
    int value_generation = -1;
    int value_at = 0;  // on its clock
    int published_generation = -1;
    bool copy_outs = false;      // local ranks may still copy the last chunk out
    std::vector<int> open_puts;  // not known to have left
    std::vector<Landing> landings;
  };

  Status advance(int node);
  // True when the step is done, false when it waits, or the rule that it breaks.
  Result<bool> do_step(int node, const Step& step);
  Result<bool> do_add(int node, const Step& step);
  Result<bool> do_put(int node, const Step& step);
  Result<bool> do_receive(int node, const Step& step);
  Result<bool> do_publish(int node);
  Status retire(int node);
  Status deliver(int idx, const SlotRef& slot);
  Status check_result_replaceable(const Message& arrival) const;

  // The value that waits in `slot`: this chunk's, from the node that the slot names.
  Result<int> read(int node, const SlotRef& slot);
  Status check_result_readable(int node) const;
  // Event `time` of node `who` has happened in every run in which `knows` has.
  static bool happened(const std::vector<int>& knows, int who, int time);
  // The put's bytes have been read by then, so its source is free.
  bool surely_read(int put, const std::vector<int>& knows) const;
  Landing& landing(int node, const SlotRef& slot, int generation);

  Status stuck() const;
  Status broken(int node, const std::string& what) const;
  uint64_t chunk(int generation) const;
  const Schedule& schedule(int node) const;
  Node& at(int node) { return nodes_[static_cast<size_t>(node)]; }
  const Node& at(int node) const { return nodes_[static_cast<size_t>(node)]; }
  Message& message(int idx) { return messages_[static_cast<size_t>(idx)]; }
  const Message& message(int idx) const { return messages_[static_cast<size_t>(idx)]; }

  std::vector<const ScheduleSet*> chunks_;
  uint64_t lane_;
  uint64_t window_;
  int num_nodes_;
  Expressions expressions_;
  std::vector<Node> nodes_;
  std::vector<Message> messages_;
  std::vector<int> sums_;      // by generation, what its first publisher published
  std::vector<int> runnable_;  // nodes that may move
};

}  // namespace hfr
