// Control: the rendezvous' server in virtual time, in the process of rank 0. As the real one
// (bootstrap/) it takes the first failure that it hears of, or finds out who holds up those that
// stalled, and tells all ranks. Its messages take a latency each and leave one after the other.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/stalls.hpp"
#include "base/status.hpp"
#include "sim/event_loop.hpp"
#include "sim/links.hpp"

namespace hfr::sim {

class Control : public Actor {
 public:
  static constexpr int kHost = 0;
  using Tell = std::function<void(int rank, const Failure& failure)>;

  // `tell`: the failure has come to a rank.
  Control(EventLoop& loop, Links& links, int num_ranks, int ranks_per_node, Tell tell);

  void report(int rank, const Failure& failure) { send({Kind::kReport, rank, failure}); }
  void stall(const StallReport& report) {
    send({Kind::kStall, report.wait.from, {report.status, report.wait.to}, report.wait});
  }
  // The rank's process has ended, and its system says so.
  void close(int rank);
  // The host's process stands still, and goes on.
  void pause() { paused_ = true; }
  void go_on();

  void on_event(uint64_t what) override;

 private:
  enum class Kind : uint8_t { kReport, kStall, kDeath, kVerdict };
  struct Message {
    Kind kind;
    int rank;  // the member, whichever way it goes
    Failure failure;
    WaitEdge wait;  // of a stall
  };
  void send(Message message, SimTime delay = 0);
  void take(const Message& message);
  void take_stall(const Message& message);
  void fail(const Failure& failure);
  int node_of(int rank) const { return rank / ranks_per_node_; }

  EventLoop& loop_;
  Links& links_;
  const int num_ranks_;
  const int ranks_per_node_;
  const Tell tell_;
  std::vector<Message> messages_;  // of the whole run, by number
  std::vector<uint64_t> unread_;   // came while the host stood still
  std::vector<StallReport> stalls_;
  std::vector<bool> closed_;  // by rank
  int num_closed_ = 0;
  bool paused_ = false;
  std::optional<Failure> failure_;
};

}  // namespace hfr::sim
