// Operations on a GPU's buffers: which of the ways of docs/cuda.md a call takes, and what the
// calling thread does for it.
#include "base/text.hpp"
#include "comm/communicator.hpp"

namespace hfr {
namespace {

constexpr uint64_t kGraphsGoNs = 1'000'000'000;

// The device's sentences begin with what is wrong with something; this says with what.
Status with_subject(const char* what, const Status& status) {
  if (status.ok()) return status;
  return Status(status.code(), cat("hfr_all_reduce: ", what, status.message()));
}

}  // namespace

Status Communicator::all_reduce_on_gpu(const OpDescriptor& desc, void* stream, uint64_t* request) {
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  HFR_RETURN_IF_ERROR(check_on_gpu(desc, stream));
  if (stream != nullptr && graph_ops_ != nullptr) {
    auto capturing = user_side_->graphs()->is_capturing(stream);
    if (!capturing.ok()) return with_subject("", capturing.status());
    if (*capturing && parts_.mates != nullptr) {
      return Status(Code::kUnsupported,
                    "hfr_all_reduce: ranks that are threads of one process and share a GPU cannot "
                    "be captured, as one's replay can stand before another's input; give each a "
                    "process or a GPU of its own");
    }
    if (*capturing || captured_.load(std::memory_order_acquire)) {
      if (request == nullptr) return all_reduce_in_graph(desc, stream, *capturing);
      return Status(
          Code::kInvalidUsage,
          "hfr_all_reduce: in a stream that is captured, and in any stream once something "
          "was captured, there are no requests; pass NULL and wait for the stream");
    }
  }
  if (executor_.takes_flat(bytes)) return all_reduce_bounced(desc, stream, request);
  if (stream != nullptr) return all_reduce_in_stream(desc, stream, request);
  engine_.lock(*this);
  Result<uint64_t> op = submit(desc);
  engine_.unlock();
  if (!op.ok()) return op.status();
  if (request != nullptr) *request = *op;
  arrive(*op, false);
  if (request == nullptr) return wait(*op);
  wake_progress_thread();
  return Status();
}

Status Communicator::check_on_gpu(const OpDescriptor& desc, void* stream) {
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  if (bytes > 0) {
    HFR_RETURN_IF_ERROR(with_subject("sendbuf", user_side_->check_buffer(desc.send, bytes)));
    if (desc.recv != desc.send) {
      HFR_RETURN_IF_ERROR(with_subject("recvbuf", user_side_->check_buffer(desc.recv, bytes)));
    }
  }
  if (stream == nullptr) return Status();
  if (HostStream::from_handle(stream) != nullptr) {
    return Status(Code::kInvalidArgument,
                  "hfr_all_reduce: the stream was made by hfr_stream_create, which orders host "
                  "memory, but this rank's buffers are on a GPU; pass a CUDA stream");
  }
  return with_subject("", user_side_->check_stream(stream));
}

Status Communicator::all_reduce_in_stream(const OpDescriptor& desc, void* stream,
                                          uint64_t* request) {
  OpDescriptor in_stream = desc;
  in_stream.ready = false;
  in_stream.on_device = true;
  const size_t copies = executor_.num_copies(desc.count * dtype_size(desc.dtype), desc.op);
  const bool may_be_early =
      desc.count > 0 && user_side_->takes_early() && copies <= user_side_->most_early();
  in_stream.undecided = may_be_early && parts_.mates != nullptr;
  engine_.lock(*this);
  if (may_be_early) hand_over_late_copies(copies);
  Result<uint64_t> op = submit(in_stream);
  if (op.ok() && may_be_early && !in_stream.undecided) executor_.submit_early(*op);
  engine_.unlock();
  if (!op.ok()) return op.status();
  if (request != nullptr) *request = *op;
  if (may_be_early) wake_progress_thread();
  bool early = may_be_early;
  if (in_stream.undecided) {
    early = decide_with_mates(*op);
  } else {
    arrive(*op, false);
  }
  if (!early) {
    Status status = user_side_->mark_input(stream, *op);
    return status.ok() ? wait(*op) : fail_device(status);
  }
  Status status = user_side_->begin_hand_over(stream, *op);
  if (status.ok()) status = hand_over(copies);
  if (status.ok()) status = user_side_->end_hand_over(stream);
  return status.ok() ? status : fail_device(status);
}

Status Communicator::all_reduce_bounced(const OpDescriptor& desc, void* stream, uint64_t* request) {
  const bool may_be_early = stream != nullptr && user_side_->takes_early();
  OpDescriptor small = desc;
  small.ready = false;
  small.bounced = true;
  small.undecided = may_be_early && parts_.mates != nullptr;
  small.gated = may_be_early && !small.undecided;
  small.gpu_stream = stream;
  engine_.lock(*this);
  if (may_be_early) hand_over_late_copies(0);
  Result<uint64_t> op = submit(small);
  engine_.unlock();
  if (!op.ok()) return op.status();
  if (request != nullptr) *request = *op;
  // Without the engine, as a driver call may wait for an earlier operation's stream.
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  Bounce& bounce = executor_.bounce(*op);
  if (Status status = user_side_->bounce_in(stream, bounce, desc.send, desc.recv, bytes);
      !status.ok()) {
    return fail_device(status);
  }
  bool gated = small.gated;
  if (small.undecided) {
    wake_progress_thread();
    gated = decide_with_mates(*op);
  } else {
    arrive(*op, false);
  }
  if (gated) {
    Status status = user_side_->bounce_out(stream, bounce, true);
    if (!status.ok()) return fail_device(status);
  }
  const bool waits = stream != nullptr ? !gated : request == nullptr;
  if (waits) return wait(*op);
  wake_progress_thread();
  return Status();
}

void Communicator::arrive(uint64_t op, bool in_stream) {
  if (parts_.mates != nullptr) parts_.mates->arrive(parts_.mate_idx, op, in_stream);
}

bool Communicator::decide_with_mates(uint64_t op) {
  GpuMates& mates = *parts_.mates;
  arrive(op, true);
  engine_.lock(*this);
  drive([&] { return executor_.failed() || mates.all_arrived(op); });
  const bool early = !executor_.failed() && mates.all_in_streams(op);
  executor_.decide(op, early);
  engine_.unlock();
  return early;
}

Status Communicator::hand_over(size_t chunks) {
  const auto window = static_cast<size_t>(parts_.staging.window);
  if (parts_.mates == nullptr) return hand_over_chunks({&user_side_, 1}, chunks, window);
  GpuMates& mates = *parts_.mates;
  mates.push(parts_.mate_idx, chunks, window);
  engine_.lock(*this);
  drive([&] { return executor_.failed() || mates.handed_over(parts_.mate_idx); });
  engine_.unlock();
  if (!mates.handed_over(parts_.mate_idx)) {
    if (mates.give_up(parts_.mate_idx)) return executor_.failure().status;
    while (!mates.handed_over(parts_.mate_idx)) Waiter::relax();
  }
  return mates.finish(parts_.mate_idx);
}

Status Communicator::all_reduce_in_graph(const OpDescriptor& desc, void* stream, bool capturing) {
  if (!parts_.shape.all_on_device && !executor_.takes_flat(desc.count * dtype_size(desc.dtype))) {
    return Status(Code::kUnsupported,
                  cat("hfr_all_reduce: with ranks in host memory, messages of more than ",
                      bytes_text(parts_.limits.flat_bytes),
                      " cannot stand in a graph, nor follow one in a stream"));
  }
  std::shared_ptr<GraphOp> op;
  if (!capturing) op = graph_ops_->find_own(desc);
  const bool is_new = op == nullptr;
  if (is_new) {
    HFR_ASSIGN_OR_RETURN(op, graph_ops_->make(desc, !capturing));
  }
  engine_.lock(*this);
  Status status = sticky();
  if (status.ok() && !capturing) hand_over_late_copies(0);
  if (is_new) graph_ops_->add(op);
  if (!status.ok()) op->gone = true;
  engine_.unlock();
  if (!status.ok()) return status;
  if (capturing) {
    status = graph_ops_->capture(op, stream);
    if (!status.ok()) return with_subject("", status);
    captured_.store(true, std::memory_order_release);
  } else {
    status = graph_ops_->launch(op, stream);
    if (!status.ok()) return fail_device(status);
  }
  wake_progress_thread();
  return Status();
}

void Communicator::hand_over_late_copies(size_t copies) {
  drivers_.fetch_add(1, std::memory_order_relaxed);
  drive([&] {
    return executor_.failed() || (executor_.all_fed() && user_side_->can_enqueue(copies));
  });
  drivers_.fetch_sub(1, std::memory_order_relaxed);
}

Status Communicator::fail_device(const Status& status) {
  engine_.lock(*this);
  fail({status, parts_.shape.rank});
  engine_.unlock();
  return status;
}

void Communicator::watch_graphs() {
  Waiter waiter(parts_.wait);
  while (graph_ops_ != nullptr && graph_ops_->any() && !progress_stop_) {
    if (engine_.try_lock()) {
      const bool started = graph_ops_->progress();
      const bool idle = executor_.idle();
      if (!idle) drive([&] { return executor_.idle() || drivers_.load() > 0; });
      engine_.unlock();
      if (started || !idle) waiter.reset();
    }
    waiter.pause();
  }
}

Status Communicator::check_unused(const char* call) {
  if (graph_ops_ == nullptr) return Status();
  // The driver lets go of what a graph held on a thread of its own.
  const uint64_t until = monotonic_ns() + kGraphsGoNs;
  int num = 0;
  engine_.lock(*this);
  drive([&] {
    num = graph_ops_->num_captured();
    return num == 0 || monotonic_ns() > until;
  });
  engine_.unlock();
  if (num == 0) return Status();
  return Status(Code::kInvalidUsage,
                cat(call, ": ", num,
                    " operations of the communicator stand in CUDA graphs; destroy those graphs "
                    "and what was instantiated from them first"));
}

bool Communicator::graphs_have_run() {
  if (graph_ops_ == nullptr) return true;
  const uint64_t until = monotonic_ns() + parts_.limits.timeout_ns;
  bool all = false;
  engine_.lock(*this);
  drive([&] {
    all = executor_.idle() && !graph_ops_->any_launched();
    return all || executor_.failed() || monotonic_ns() > until;
  });
  engine_.unlock();
  return all;
}

void Communicator::close_graphs() {
  graph_ops_->close();
  const uint64_t until = monotonic_ns() + kGraphsGoNs;
  drive([&] { return !graph_ops_->any() || monotonic_ns() > until; });
}

}  // namespace hfr
