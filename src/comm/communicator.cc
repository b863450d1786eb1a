#include "comm/communicator.hpp"

#include <algorithm>
#include <ctime>

#include "base/text.hpp"
#include "cpu/crc32c.hpp"
#include "device/cuda/nvtx_ranges.hpp"
#include "reduce/inline_pool.hpp"
#include "reduce/worker_pool.hpp"
#include "topo/placement.hpp"

namespace hfr {
namespace {

constexpr uint64_t kAttendNs = 1'000'000;
// For what others post or send, before a wait begins, where a waiter may spin at all: some
// microseconds.
constexpr uint32_t kLooks = 256;

int64_t realtime_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Result<std::unique_ptr<ReducePool>> make_pool(const Parts& parts, const KernelTable& kernels) {
  if (parts.add_cpus.empty()) return std::unique_ptr<ReducePool>(new InlinePool(kernels));
  WorkerPool::Options options;
  options.cpus = parts.add_cpus;
  options.wait.spin_ns = parts.wait.spin_ns;
  // The node's pools add for each other: what they add is all in staging.
  options.base = parts.memory->staging().data();
  options.rank = parts.shape.local_rank;
  options.board = reinterpret_cast<TaskBoard*>(Staging(parts.staging, options.base).board());
  HFR_ASSIGN_OR_RETURN(std::unique_ptr<WorkerPool> pool, WorkerPool::create(kernels, options));
  return std::unique_ptr<ReducePool>(std::move(pool));
}

}  // namespace

Result<std::shared_ptr<Communicator>> Communicator::create(JoinSpec spec) {
  HFR_ASSIGN_OR_RETURN(const KernelTable* kernels, select_kernel_table(spec.config.isa));
  HFR_ASSIGN_OR_RETURN(Parts parts, set_up(std::move(spec)));
  auto pool = make_pool(parts, *kernels);
  if (!pool.ok()) {
    parts.membership->report(pool.status(), parts.shape.rank);
    return pool.status();
  }
  return std::shared_ptr<Communicator>(new Communicator(std::move(parts), std::move(*pool)));
}

Communicator::Communicator(Parts parts, std::unique_ptr<ReducePool> pool)
    : parts_(std::move(parts)),
      user_side_(parts_.device->user_side()),
      pool_(std::move(pool)),
      trace_(parts_.trace_file != nullptr ? std::make_unique<Trace>(clock_) : nullptr),
      recorder_(parts_.record != nullptr
                    ? std::make_unique<Recorder>(parts_.record->record(), clock_)
                    : nullptr),
      ranges_(make_nvtx_ranges()),
      context_{.shape = parts_.shape,
               .staging = Staging(parts_.staging, parts_.memory->staging().data()),
               .limits = parts_.limits,
               .schedules = parts_.schedules,
               .one_process = parts_.one_process,
               .direct = parts_.config.direct,
               .peer_memory = std::move(parts_.peer_memory),
               .heap = {},
               .map_heap = [this]() -> std::byte* {
                 auto heap = parts_.memory->heap();
                 return heap.ok() ? (*heap)->data() : nullptr;
               },
               .clock = clock_,
               .device = *parts_.device,
               .pool = *pool_,
               .transport = parts_.transport.get(),
               .groups = Groups(parts_.gpu_groups, parts_.shape.local_rank, parts_.boxes,
                                Staging(parts_.staging, parts_.memory->staging().data())),
               .gpu_sharers = parts_.gpu_sharers,
               .trace = trace_.get(),
               .recorder = recorder_.get(),
               .ranges = ranges_.get(),
               .checksum = parts_.config.check == "off" ? nullptr : crc32c},
      executor_(context_),
      cpu_sharing_(context_.staging, parts_.shape.local_rank),
      looks_(parts_.wait.spin_ns > 0 ? kLooks : 0),
      first_ranks_(parts_.line.members) {
  context_.heap.bytes = parts_.memory->heap_bytes();
  if (parts_.mates != nullptr) parts_.mates->enter(parts_.mate_idx, user_side_);
  if (user_side_ != nullptr && user_side_->graphs() != nullptr)
    graph_ops_ = std::make_unique<GraphOps>(*user_side_->graphs(), executor_);
  if (parts_.metrics != nullptr)
    metrics_entry_ = std::make_unique<MetricsEntry>(parts_.metrics, [this] { return metrics(); });
}

Communicator::~Communicator() {
  metrics_entry_.reset();  // from here on nobody asks
  shut_down();
  if (recorder_ != nullptr && executor_.failed()) {
    parts_.record->keep();
    recorder_->destroyed();
  }
  if (trace_ == nullptr) return;
  try {
    write_trace();
  } catch (const std::bad_alloc&) {
    // There is no trace then, and no memory to tell.
  }
}

void Communicator::write_trace() {
  const Shape& shape = parts_.shape;
  const TraceClock clock{machine_id(), realtime_ns() - static_cast<int64_t>(monotonic_ns())};
  const std::string text =
      trace_->text(shape.rank, cat("rank ", shape.rank, " (node ", shape.node, ")"), clock);
  std::FILE* file = parts_.trace_file.get();
  if (std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fflush(file) != 0) {
    parts_.logger.of(Subsystem::kOperation)
        .log(LogLevel::kError, "HFREDUCE_TRACE=", parts_.config.trace,
             " could not be written: the disk may be full");
  }
}

Status Communicator::sticky() {
  if (finalized_.load(std::memory_order_relaxed)) {
    return Status(Code::kInvalidUsage, "the communicator was finalized; make a new one");
  }
  if (!executor_.failed()) return Status();
  tell_failure();
  return executor_.failure().status;
}

Status Communicator::status_of(uint64_t op) {
  if (executor_.completed(op)) return Status();
  tell_failure();
  return executor_.failure().status;
}

void Communicator::tell_failure() {
  if (failure_told_.exchange(true, std::memory_order_relaxed)) return;
  const Failure& failure = executor_.failure();
  parts_.membership->report(failure.status, failure.rank);
  std::string advice;
  if (parts_.record != nullptr && !parts_.record->folder().empty()) {
    parts_.record->keep();
    advice = cat("; what the ranks did last: hfreduce inspect ", parts_.record->folder());
  }
  parts_.logger.of(Subsystem::kOperation).log(LogLevel::kError, failure.status.message(), advice);
}

Result<uint64_t> Communicator::submit(const OpDescriptor& desc) {
  if (takes_operations()) {
    if (auto number = executor_.submit(desc)) return *number;
  }
  Waiter waiter(parts_.wait);
  uint64_t last_look_ns = 0;
  while (true) {
    Status status = sticky();
    if (!status.ok()) return status;
    if (auto number = executor_.submit(desc)) return *number;
    // The queue is full: the oldest operation has to go first.
    if (turn()) {
      waiter.reset();
    } else {
      pause_driving(waiter, last_look_ns);
    }
  }
}

bool Communicator::is_in_host(const OpDescriptor& desc, void* stream) {
  if (stream != nullptr && HostStream::from_handle(stream) == nullptr) return false;
  return desc.count == 0 || (!gpu_memory_.contains(desc.send) && !gpu_memory_.contains(desc.recv));
}

Status Communicator::not_in_host(const OpDescriptor& desc) {
  for (const void* buffer : {desc.send, static_cast<const void*>(desc.recv)}) {
    if (desc.count == 0 || !gpu_memory_.contains(buffer)) continue;
    return Status(Code::kInvalidArgument,
                  cat("hfr_all_reduce: ", buffer == desc.send ? "sendbuf" : "recvbuf",
                      " is memory of a GPU, but this rank's communicator was made for host memory; "
                      "make it with HFR_DEVICE_CUDA (HFREDUCE_DEVICE=cuda), or pass host memory"));
  }
  return Status(Code::kInvalidArgument,
                "hfr_all_reduce: the stream was not made by hfr_stream_create, but this rank's "
                "buffers are in host memory");
}

Status Communicator::all_reduce(const OpDescriptor& desc, void* stream, uint64_t* request) {
  if (user_side_ != nullptr) return all_reduce_on_gpu(desc, stream, request);
  if (!is_in_host(desc, stream)) return not_in_host(desc);
  if (stream == nullptr && request == nullptr) return all_reduce_now(desc);
  engine_.lock(*this);
  OpDescriptor checked = desc;
  checked.ready = stream == nullptr;
  Result<uint64_t> number = submit(checked);
  if (!number.ok()) {
    engine_.unlock();
    return number.status();
  }
  const uint64_t op = *number;
  if (request != nullptr) *request = op;
  if (stream == nullptr)
    executor_.progress();  // announce it now, and finish it if the others are there
  engine_.unlock();
  if (stream != nullptr) {
    static_cast<HostStream*>(stream)->enqueue(
        [self = shared_from_this(), op] { return self->run_in_stream(op); });
  }
  wake_progress_thread();
  return Status();
}

Status Communicator::all_reduce_now(const OpDescriptor& desc) {
  engine_.lock(*this);
  std::optional<uint64_t> number;
  if (takes_operations()) number = executor_.submit_and_finish(desc, looks());
  if (number && executor_.completed(*number)) {
    engine_.unlock();
    return Status();
  }
  if (!number) {
    Result<uint64_t> later = submit(desc);
    if (!later.ok()) {
      engine_.unlock();
      return later.status();
    }
    number = *later;
  }
  const uint64_t op = *number;
  if (!executor_.done(op)) {
    const bool shared = progress_running_.load(std::memory_order_relaxed);
    if (shared) drivers_.fetch_add(1, std::memory_order_relaxed);
    drive([&] { return executor_.done(op); });
    if (shared) drivers_.fetch_sub(1, std::memory_order_relaxed);
  }
  bool more = !at_rest();
  engine_.unlock();
  if (more) wake_progress_thread();
  return status_of(op);
}

Status Communicator::run_in_stream(uint64_t op) {
  executor_.set_ready(op);
  return wait(op);
}

bool Communicator::turn() {
  const bool started = graph_ops_ != nullptr && graph_ops_->any() && graph_ops_->progress();
  return executor_.progress() || started;
}

Failure Communicator::in_context(const Failure& failure) const {
  return hfr::in_context(failure, parts_.shape, executor_.oldest());
}

void Communicator::fail(const Failure& failure) {
  executor_.fail(failure);
  tell_failure();
}

Status Communicator::wait(uint64_t request) {
  drivers_.fetch_add(1, std::memory_order_relaxed);
  Waiter waiter(parts_.wait);
  while (!executor_.done(request)) {
    if (engine_.try_lock()) {
      drive([&] { return executor_.done(request); });
      engine_.unlock();
    } else {
      waiter.pause();
    }
  }
  drivers_.fetch_sub(1, std::memory_order_relaxed);
  if (!at_rest()) wake_progress_thread();
  return status_of(request);
}

Status Communicator::test(uint64_t request, bool* done) {
  if (!executor_.done(request) && engine_.try_lock()) {
    if (!turn()) look_around(monotonic_ns());
    engine_.unlock();
  }
  *done = executor_.done(request);
  return *done ? status_of(request) : Status();
}

Status Communicator::finalize() {
  HFR_RETURN_IF_ERROR(complete_all());
  const uint64_t deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
  HFR_RETURN_IF_ERROR(
      meet_all([&] { return parts_.membership->barrier(deadline_ns, "finalizing"); }));
  finalized_.store(true, std::memory_order_relaxed);
  return Status();
}

Status Communicator::complete_all() {
  engine_.lock(*this);
  Status status = sticky();
  if (status.ok()) {
    drive([&] { return executor_.idle(); });
    status = sticky();
  }
  engine_.unlock();
  return status;
}

Status Communicator::meet_all(const std::function<Status()>& meet) {
  std::atomic<bool> over{false};
  std::thread attendant;
  if (parts_.transport != nullptr && parts_.transport->capabilities().needs_attendance) {
    attendant = std::thread([&] {
      while (!over.load(std::memory_order_relaxed)) {
        engine_.lock(*this);
        executor_.attend_transport();
        engine_.unlock();
        Waiter::sleep(kAttendNs);
      }
    });
  }
  record_meeting(WaitStage::kMeeting);
  Status status = meet();
  record_meeting(WaitStage::kNothing);
  over.store(true, std::memory_order_relaxed);
  if (attendant.joinable()) attendant.join();
  if (status.ok()) return status;
  auto failure = parts_.membership->poll();
  engine_.lock(*this);
  fail(failure ? *failure : Failure{status, -1});
  engine_.unlock();
  return sticky();
}

void Communicator::record_meeting(WaitStage stage) {
  if (recorder_ == nullptr) return;
  engine_.lock(*this);
  const uint64_t now = monotonic_ns();
  recorder_->waits(parts_.record->record().progress.completed.load(), now, now, {-1, stage});
  engine_.unlock();
}

Status Communicator::dump(const std::string& path) const {
  if (parts_.record == nullptr) {
    return Status(Code::kInvalidUsage,
                  "hfr_comm_dump: nothing is recorded, as HFREDUCE_RECORDER_DIR is off");
  }
  return parts_.record->dump(expand_path(path, parts_.shape.rank));
}

void Communicator::shut_down() {
  engine_.lock(*this);
  // A GPU's stream comes to its operations by itself; it gets as long as an operation does.
  if (user_side_ != nullptr) {
    const uint64_t deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
    drive([&] {
      const bool all_came =
          executor_.all_ready() && (graph_ops_ == nullptr || !graph_ops_->any_launched());
      return executor_.failed() || all_came || monotonic_ns() > deadline_ns;
    });
  }
  // What waits for a stream that may never come is given up; what runs is finished or fails by its
  // deadline.
  if (!executor_.idle() && !executor_.all_ready()) {
    fail({Status(Code::kAborted, cat("rank ", parts_.shape.rank,
                                     " destroyed the communicator while operations waited "
                                     "for their streams")),
          parts_.shape.rank});
  }
  drive([&] { return executor_.idle(); });
  // The group may still be at what this rank carried.
  drive([&] { return executor_.failed() || executor_.boxes_free(); });
  if (graph_ops_ != nullptr) close_graphs();
  engine_.unlock();
  if (progress_thread_.joinable()) {
    {
      std::lock_guard lock(progress_mutex_);
      progress_stop_ = true;
    }
    progress_wanted_.notify_all();
    progress_thread_.join();
  }
  if (parts_.membership != nullptr) parts_.membership->leave();
}

void Communicator::abort() {
  give_up({Status(Code::kAborted, cat("rank ", parts_.shape.rank, " (node ", parts_.shape.node,
                                      ") called hfr_comm_abort")),
           parts_.shape.rank});
}

void Communicator::give_up(const Failure& failure) {
  // Whoever drives the engine sees the cell in its next turn.
  publish_failure(context_.staging.failure(), failure);
  parts_.membership->report(failure.status, failure.rank);
  engine_.lock(*this);
  executor_.fail(failure);
  engine_.unlock();
}

Status Communicator::async_error() {
  if (!executor_.failed() && engine_.try_lock()) {
    turn();
    look_around(monotonic_ns());
    engine_.unlock();
  }
  return executor_.failed() ? executor_.failure().status : Status();
}

CommMetrics Communicator::metrics() {
  EngineMeters& meters = executor_.meters();
  CommMetrics metrics;
  metrics.rank = parts_.shape.rank;
  metrics.node = parts_.shape.node;
  metrics.operations_completed = executor_.num_completed();
  metrics.operations_started = std::max(executor_.num_submitted(), metrics.operations_completed);
  for (size_t i = 0; i < metrics.operations_by_path.size(); ++i)
    metrics.operations_by_path[i] = meters.by_path[i].load();
  for (size_t i = 0; i < kNumStages; ++i) metrics.stages[i] = meters.stages[i].totals();
  StageTotals& operations = metrics.stages[static_cast<size_t>(Stage::kOperation)];
  operations.count = metrics.operations_completed;
  operations.bytes = meters.bytes.load();
  metrics.puts_refused = meters.puts_refused.load();
  metrics.sleeps = meters.sleeps.load();
  const LinkMeters* links = parts_.transport == nullptr ? nullptr : parts_.transport->link_meters();
  if (links != nullptr) {
    metrics.links_broken = links->broken.load();
    metrics.links_mended = links->mended.load();
  }
  if (executor_.failed()) metrics.failure = executor_.failure().status.code();
  metrics.add(parts_.earlier);
  return metrics;
}

}  // namespace hfr
