#include "device/cuda/cuda_graphs.hpp"

#include <algorithm>
#include <array>
#include <new>

#include "base/shared_memory.hpp"
#include "base/text.hpp"
#include "device/cuda/capture.hpp"

namespace hfr {

// Nodes that are added to a graph one by one, and taken out again unless they are kept.
class CudaGraphs::Nodes {
 public:
  Nodes(const CudaContext& context, CUgraph graph)
      : context_(context), driver_(context.driver()), graph_(graph) {}
  ~Nodes() {
    // The last ones first: they depend on the others.
    for (; !nodes_.empty(); nodes_.pop_back()) driver_.cuGraphDestroyNode(nodes_.back());
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  void keep() { nodes_.clear(); }
  CUresult result() const { return result_; }

  // A row of memory operations, which become one node.
  class Row {
   public:
    explicit Row(const Block& block) : block_(block) {}
    Row& set(const std::atomic<uint64_t>& word, uint64_t value) {
      CUstreamBatchMemOpParams& entry = entries_[num_++];
      entry.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
      entry.writeValue.address = address(word);
      entry.writeValue.value64 = value;
      entry.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
      return *this;
    }
    Row& pass(const Gate& gate) {
      CUstreamBatchMemOpParams& entry = entries_[num_++];
      entry.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_64;
      entry.waitValue.address = address(gate.go);
      entry.waitValue.value64 = 1;
      entry.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
      return set(gate.go, 0);
    }

   private:
    friend class Nodes;
    CUdeviceptr address(const std::atomic<uint64_t>& word) const {
      return block_.on_device +
             static_cast<CUdeviceptr>(reinterpret_cast<const std::byte*>(&word) - block_.memory);
    }
    const Block& block_;
    std::array<CUstreamBatchMemOpParams, 3> entries_{};
    unsigned num_ = 0;
  };

  void add(Row row, std::vector<CUgraphNode>& last) {
    CUDA_BATCH_MEM_OP_NODE_PARAMS params{};
    params.ctx = context_.get();
    params.count = row.num_;
    params.paramArray = row.entries_.data();
    add(last, [&](CUgraphNode* node) {
      return driver_.cuGraphAddBatchMemOpNode(node, graph_, last.data(), last.size(), &params);
    });
  }

  void add_copy(CopyDirection direction, void* dst, const void* src, size_t bytes,
                std::vector<CUgraphNode>& last) {
    if (bytes == 0) return;
    CUDA_MEMCPY3D copy{};
    copy.WidthInBytes = bytes;
    copy.Height = copy.Depth = 1;
    if (direction == CopyDirection::kIn) {
      copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
      copy.srcDevice = reinterpret_cast<CUdeviceptr>(src);
      copy.dstMemoryType = CU_MEMORYTYPE_HOST;
      copy.dstHost = dst;
    } else {
      copy.srcMemoryType = CU_MEMORYTYPE_HOST;
      copy.srcHost = src;
      copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
      copy.dstDevice = reinterpret_cast<CUdeviceptr>(dst);
    }
    add(last, [&](CUgraphNode* node) {
      return driver_.cuGraphAddMemcpyNode(node, graph_, last.data(), last.size(), &copy,
                                          context_.get());
    });
  }

 private:
  template <typename Call>
  void add(std::vector<CUgraphNode>& last, Call&& call) {
    if (result_ != CUDA_SUCCESS) return;
    CUgraphNode node = nullptr;
    result_ = call(&node);
    if (result_ != CUDA_SUCCESS) return;
    nodes_.push_back(node);
    last = {node};
  }

  const CudaContext& context_;
  const Driver& driver_;
  const CUgraph graph_;
  std::vector<CUgraphNode> nodes_;
  CUresult result_ = CUDA_SUCCESS;
};

Result<GraphCopies*> CudaGraphs::make_copies(bool bounced, size_t bytes, size_t num_chunks) {
  const size_t bounce_bytes = bounced ? round_up(std::max(bytes, size_t{1}), kPageBytes) : 0;
  const size_t num_gates = 2 + 2 * num_chunks;  // start, the bounce's way out, the chunks'
  std::lock_guard lock(mutex_);
  for (Block& block : blocks_) {
    if (block.in_use || block.bounce_bytes != bounce_bytes || block.in.size() != num_chunks)
      continue;
    block.in_use = true;
    num_in_use_.fetch_add(1, std::memory_order_relaxed);
    return static_cast<GraphCopies*>(&block);
  }
  const size_t gates_bytes = round_up(num_gates * sizeof(Gate), kPageBytes);
  ContextScope scope(context_);
  void* memory = nullptr;
  HFR_RETURN_IF_ERROR(
      driver_.status("pinned memory for an operation in a graph",
                     driver_.cuMemHostAlloc(&memory, gates_bytes + bounce_bytes,
                                            CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)));
  CUdeviceptr on_device = 0;
  if (CUresult result = driver_.cuMemHostGetDevicePointer(&on_device, memory, 0);
      result != CUDA_SUCCESS) {
    driver_.cuMemFreeHost(memory);
    return driver_.status("cuMemHostGetDevicePointer", result);
  }
  Block& block = blocks_.emplace_back();
  block.memory = static_cast<std::byte*>(memory);
  block.on_device = on_device;
  block.bounce_bytes = bounce_bytes;
  Gate* gates = new (memory) Gate[num_gates];
  block.start = &gates[0];
  block.bounce.out = &gates[1];
  if (bounce_bytes > 0) block.bounce.data = block.memory + gates_bytes;
  block.in = std::span(gates + 2, num_chunks);
  block.out = std::span(gates + 2 + num_chunks, num_chunks);
  block.in_use = true;
  num_in_use_.fetch_add(1, std::memory_order_relaxed);
  return static_cast<GraphCopies*>(&block);
}

void CudaGraphs::free_copies(GraphCopies* copies) {
  std::lock_guard lock(mutex_);
  static_cast<Block*>(copies)->in_use = false;
  num_in_use_.fetch_sub(1, std::memory_order_relaxed);
}

void CudaGraphs::free() {
  ContextScope scope(context_);
  for (Block& block : blocks_) driver_.cuMemFreeHost(block.memory);
  blocks_.clear();
}

Result<bool> CudaGraphs::is_capturing(void* stream) {
  ContextScope scope(context_);
  CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = driver_.cuStreamIsCapturing(static_cast<CUstream>(stream), &capture);
  if (result != CUDA_SUCCESS) {
    return Status(Code::kInvalidArgument,
                  driver_.text("the stream is no usable CUDA stream", result));
  }
  if (capture == CU_STREAM_CAPTURE_STATUS_INVALIDATED) {
    return Status(Code::kInvalidUsage,
                  "the capture that the stream is part of has been invalidated, by a call before "
                  "this one; end it and begin anew");
  }
  return capture == CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

Status CudaGraphs::capture(void* stream, const GraphRequest& request) {
  auto* user = static_cast<CUstream>(stream);
  ContextScope scope(context_);
  CUgraph graph = nullptr;
  std::vector<CUgraphNode> last;
  CUresult result = capture_state(driver_, user, graph, last);
  if (result == CUDA_SUCCESS) {
    result = build(graph, request, last, [&](std::vector<CUgraphNode>& end) {
      return set_capture_end(driver_, user, end);
    });
  }
  return driver_.status("adding an operation to the graph that is being captured", result);
}

Result<std::shared_ptr<void>> CudaGraphs::make_graph(const GraphRequest& request) {
  ContextScope scope(context_);
  CUgraph graph = nullptr;
  CUgraphExec made = nullptr;
  CUresult result = driver_.cuGraphCreate(&graph, 0);
  if (result == CUDA_SUCCESS) {
    result = build(graph, request, {}, [](std::vector<CUgraphNode>&) { return CUDA_SUCCESS; });
  }
  if (result == CUDA_SUCCESS) result = driver_.cuGraphInstantiateWithFlags(&made, graph, 0);
  if (graph != nullptr) driver_.cuGraphDestroy(graph);
  HFR_RETURN_IF_ERROR(driver_.status("making a graph of an operation", result));
  return std::shared_ptr<void>(made, [this](void* exec) {
    ContextScope destroying(context_);
    driver_.cuGraphExecDestroy(static_cast<CUgraphExec>(exec));
  });
}

Status CudaGraphs::launch(void* graph, void* stream) {
  ContextScope scope(context_);
  return driver_.status("cuGraphLaunch", driver_.cuGraphLaunch(static_cast<CUgraphExec>(graph),
                                                               static_cast<CUstream>(stream)));
}

CUresult CudaGraphs::build(CUgraph graph, const GraphRequest& request,
                           std::vector<CUgraphNode> last, const Accept& accept) const {
  const auto& block = static_cast<const Block&>(*request.copies);
  Nodes nodes(context_, graph);
  using Row = Nodes::Row;
  if (request.copies->bounce.data != nullptr) {
    std::byte* data = block.bounce.data;
    nodes.add_copy(CopyDirection::kIn, data, request.send, request.bytes, last);
    nodes.add(Row(block).set(block.start->done, 1).pass(*block.bounce.out), last);
    nodes.add_copy(CopyDirection::kOut, request.recv, data, request.bytes, last);
  } else {
    nodes.add(Row(block).set(block.start->done, 1), last);
    std::vector<CUgraphNode> ends;
    auto branch = [&](CopyDirection direction, std::span<Gate> gates,
                      const std::vector<CopyDescriptor>& copies) {
      std::vector<CUgraphNode> end = last;
      for (size_t i = 0; i < copies.size(); ++i) {
        Row between(block);
        if (i > 0) between.set(gates[i - 1].done, 1);
        nodes.add(between.pass(gates[i]), end);
        nodes.add_copy(direction, copies[i].dst, copies[i].src, copies[i].bytes, end);
      }
      nodes.add(Row(block).set(gates.back().done, 1), end);
      ends.insert(ends.end(), end.begin(), end.end());
    };
    branch(CopyDirection::kIn, block.in, request.in);
    branch(CopyDirection::kOut, block.out, request.out);
    last = std::move(ends);
  }
  CUresult result = nodes.result();
  if (result == CUDA_SUCCESS) result = hand_owner(graph, request);
  if (result == CUDA_SUCCESS) result = accept(last);
  if (result == CUDA_SUCCESS) nodes.keep();
  return result;
}

CUresult CudaGraphs::hand_owner(CUgraph graph, const GraphRequest& request) const {
  auto* held = new std::shared_ptr<void>(request.owner);
  // Runs on a thread of the driver, which it must not call.
  auto let_go = [](void* object) { delete static_cast<std::shared_ptr<void>*>(object); };
  CUuserObject object = nullptr;
  CUresult result =
      driver_.cuUserObjectCreate(&object, held, let_go, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
  if (result != CUDA_SUCCESS) {
    delete held;
    return result;
  }
  result = driver_.cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE);
  if (result != CUDA_SUCCESS) driver_.cuUserObjectRelease(object, 1);
  return result;
}

}  // namespace hfr
