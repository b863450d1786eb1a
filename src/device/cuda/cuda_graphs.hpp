// CudaGraphs: operations as nodes of CUDA graphs.
//
//   small message   D2H, start.done = 1, (wait out.go, clear it), H2D
//
//   chunks          start.done = 1 +- (wait in.go, clear it) D2H, in.done = 1 | the next chunk ...
//                                  +- (wait out.go, clear it) H2D, out.done = 1 | ...
//
// The two branches keep both copy engines busy. A wait in one of them is for work that was launched
// before it, or for another rank (docs/cuda.md).
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "device/cuda/context.hpp"
#include "ports/device.hpp"

namespace hfr {

class CudaGraphs : public GraphSide {
 public:
  explicit CudaGraphs(const CudaContext& context) : context_(context), driver_(context.driver()) {}
  CudaGraphs(const CudaGraphs&) = delete;
  CudaGraphs& operator=(const CudaGraphs&) = delete;

  Result<GraphCopies*> make_copies(bool bounced, size_t bytes, size_t num_chunks) override;
  void free_copies(GraphCopies* copies) override;
  Result<bool> is_capturing(void* stream) override;
  Status capture(void* stream, const GraphRequest& request) override;
  Result<std::shared_ptr<void>> make_graph(const GraphRequest& request) override;
  Status launch(void* graph, void* stream) override;

  // Some graph may still run. Any thread.
  bool any_in_use() const { return num_in_use_.load(std::memory_order_relaxed) > 0; }
  // Once no graph will run any more.
  void free();

 private:
  class Nodes;
  struct Block : GraphCopies {
    std::byte* memory = nullptr;
    CUdeviceptr on_device = 0;
    size_t bounce_bytes = 0;
    bool in_use = false;
  };

  // Adds the operation's nodes to `graph` behind `last`, which becomes what comes last then.
  // `accept` has the last word; on failure the graph is as before.
  using Accept = std::function<CUresult(std::vector<CUgraphNode>& last)>;
  CUresult build(CUgraph graph, const GraphRequest& request, std::vector<CUgraphNode> last,
                 const Accept& accept) const;
  // The graph holds request.owner. On failure it does not.
  CUresult hand_owner(CUgraph graph, const GraphRequest& request) const;

  const CudaContext& context_;
  const Driver& driver_;
  std::mutex mutex_;
  std::deque<Block> blocks_;
  std::atomic<int> num_in_use_{0};
};

}  // namespace hfr
