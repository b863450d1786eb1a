// GraphOps: a communicator's operations that stand in graphs, the caller's and the communicator's
// own.
//
// An operation in a graph has no number until the graph comes to it: whoever drives looks for those
// that have been started, and submits them. The same holds for calls in the order of a stream once
// something was captured, as they may come after a graph: each is launched as a graph of its own,
// which is kept for the next such call.
//
// Threads: as each function says. `Holder`: whoever holds the engine.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/executor.hpp"

namespace hfr {

// One operation in a graph.
struct GraphOp {
  OpDescriptor desc;           // as it is submitted
  const void* send = nullptr;  // the caller's buffers
  void* recv = nullptr;
  GraphCopies* copies = nullptr;
  std::atomic<bool> gone{false};  // no graph has it any more
  // Holder. The number it got last, if any.
  bool was_started = false;
  uint64_t number = 0;
  // Of the communicator's own: its graph, and whether a run of that has not completed.
  bool own = false;
  std::shared_ptr<void> graph;
  std::atomic<bool> launched{false};
};

class GraphOps {
 public:
  GraphOps(GraphSide& graphs, Executor& executor) : graphs_(graphs), executor_(executor) {}
  GraphOps(const GraphOps&) = delete;
  GraphOps& operator=(const GraphOps&) = delete;

  // Any thread. `own`: for launch(); else for capture().
  Result<std::shared_ptr<GraphOp>> make(const OpDescriptor& desc, bool own);
  // Any thread: one of our own that was made for such a call and has completed; null: none. It is
  // as launched from here on.
  std::shared_ptr<GraphOp> find_own(const OpDescriptor& desc);
  // Holder. A graph may come to it from now on.
  void add(std::shared_ptr<GraphOp> op);
  // Any thread, after that.
  Status capture(const std::shared_ptr<GraphOp>& op, void* stream);
  Status launch(const std::shared_ptr<GraphOp>& op, void* stream);

  // Holder. Submits what graphs have come to, or after a failure lets it go, and forgets what no
  // graph has any more. True when something was done.
  bool progress();
  // Any thread.
  bool any() const { return num_.load(std::memory_order_relaxed) > 0; }

  // Holder. Operations in graphs of the caller that have not been destroyed.
  int num_captured() const;
  // Holder. Runs of our own graphs that have not completed.
  bool any_launched() const;
  // Holder. At the end: lets go what was launched and never started, and gives up our own graphs.
  void close();

 private:
  // The graph's request. The op is marked gone when the last graph lets go of it.
  GraphRequest request(const std::shared_ptr<GraphOp>& op) const;
  bool start(GraphOp& op);
  // The oldest of our own that does not run, taken out; null: all run. With kept_mutex_.
  std::shared_ptr<GraphOp> take_idle();

  GraphSide& graphs_;
  Executor& executor_;
  std::vector<std::shared_ptr<GraphOp>> ops_;
  std::atomic<int> num_{0};
  std::mutex kept_mutex_;
  std::vector<std::shared_ptr<GraphOp>> kept_;  // our own, the oldest first
};

}  // namespace hfr
