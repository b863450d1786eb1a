#include "comm/graph_ops.hpp"

#include <algorithm>

namespace hfr {
namespace {

constexpr size_t kMostKept = 64;

// What a graph holds.
struct Mark {
  explicit Mark(std::shared_ptr<GraphOp> marked) : op(std::move(marked)) {}
  ~Mark() { op->gone.store(true, std::memory_order_release); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  std::shared_ptr<GraphOp> op;
};

}  // namespace

Result<std::shared_ptr<GraphOp>> GraphOps::make(const OpDescriptor& desc, bool own) {
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  auto op = std::make_shared<GraphOp>();
  op->own = own;
  op->launched = own;
  op->send = desc.send;
  op->recv = desc.recv;
  op->desc = desc;
  op->desc.bounced = executor_.takes_flat(bytes);
  const size_t chunks = op->desc.bounced ? 0 : executor_.num_copies(bytes, desc.op, true);
  HFR_ASSIGN_OR_RETURN(op->copies, graphs_.make_copies(op->desc.bounced, bytes, chunks));
  op->desc.graph = op->copies;
  if (op->desc.bounced) {
    op->desc.bounce = &op->copies->bounce;
    op->desc.send = op->desc.recv = op->copies->bounce.data;
  }
  return op;
}

GraphRequest GraphOps::request(const std::shared_ptr<GraphOp>& op) const {
  GraphRequest request;
  request.copies = op->copies;
  request.owner = std::make_shared<Mark>(op);
  request.send = op->send;
  request.recv = op->recv;
  request.bytes = op->desc.count * dtype_size(op->desc.dtype);
  if (!op->desc.bounced) executor_.list_graph_copies(op->desc, request);
  return request;
}

void GraphOps::add(std::shared_ptr<GraphOp> op) {
  ops_.push_back(std::move(op));
  num_.fetch_add(1, std::memory_order_relaxed);
}

Status GraphOps::capture(const std::shared_ptr<GraphOp>& op, void* stream) {
  return graphs_.capture(stream, request(op));
}

std::shared_ptr<GraphOp> GraphOps::find_own(const OpDescriptor& desc) {
  std::lock_guard lock(kept_mutex_);
  for (const std::shared_ptr<GraphOp>& op : kept_) {
    if (op->send != desc.send || op->recv != desc.recv || op->desc.count != desc.count ||
        op->desc.dtype != desc.dtype || op->desc.op != desc.op || op->desc.scale != desc.scale) {
      continue;
    }
    if (!op->launched.exchange(true, std::memory_order_acquire)) return op;
  }
  return nullptr;
}

Status GraphOps::launch(const std::shared_ptr<GraphOp>& op, void* stream) {
  std::shared_ptr<GraphOp> dropped;
  if (op->graph == nullptr) {
    auto graph = graphs_.make_graph(request(op));
    if (!graph.ok()) {
      op->launched.store(false, std::memory_order_relaxed);
      return graph.status();
    }
    op->graph = std::move(*graph);
    std::lock_guard lock(kept_mutex_);
    if (kept_.size() >= kMostKept) dropped = take_idle();
    kept_.push_back(op);
  }
  if (dropped != nullptr) dropped->graph = nullptr;
  return graphs_.launch(op->graph.get(), stream);
}

std::shared_ptr<GraphOp> GraphOps::take_idle() {
  for (auto at = kept_.begin(); at != kept_.end(); ++at) {
    if ((*at)->launched.exchange(true, std::memory_order_acquire)) continue;
    std::shared_ptr<GraphOp> idle = std::move(*at);
    kept_.erase(at);
    return idle;
  }
  return nullptr;
}

bool GraphOps::progress() {
  bool moved = false;
  for (size_t i = 0; i < ops_.size(); ++i) {
    GraphOp& op = *ops_[i];
    const bool completed = !op.was_started || executor_.completed(op.number);
    if (op.own && op.was_started && completed) {
      op.was_started = false;
      op.launched.store(false, std::memory_order_release);
    }
    if (start(op)) {
      moved = true;
    } else if (op.gone.load(std::memory_order_acquire) && (completed || executor_.failed())) {
      graphs_.free_copies(op.copies);
      ops_[i] = std::move(ops_.back());
      ops_.pop_back();
      num_.fetch_sub(1, std::memory_order_relaxed);
      --i;
      moved = true;
    }
  }
  return moved;
}

bool GraphOps::start(GraphOp& op) {
  if (executor_.failed()) {
    if (!op.copies->start->take()) return false;
    op.copies->open_all();
    return true;
  }
  if (!executor_.has_room() || !op.copies->start->take()) return false;
  op.number = *executor_.submit(op.desc);
  op.was_started = true;
  return true;
}

int GraphOps::num_captured() const {
  return static_cast<int>(std::count_if(ops_.begin(), ops_.end(), [](const auto& op) {
    return !op->own && !op->gone.load(std::memory_order_acquire);
  }));
}

bool GraphOps::any_launched() const {
  return std::any_of(ops_.begin(), ops_.end(), [](const auto& op) {
    return op->own && op->launched.load(std::memory_order_relaxed);
  });
}

void GraphOps::close() {
  for (const std::shared_ptr<GraphOp>& op : ops_) {
    if (op->own && op->launched.load(std::memory_order_relaxed)) op->copies->open_all();
  }
  std::lock_guard lock(kept_mutex_);
  for (const std::shared_ptr<GraphOp>& op : kept_) op->graph = nullptr;
  kept_.clear();
}

}  // namespace hfr
