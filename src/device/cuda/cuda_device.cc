#include "device/cuda/cuda_device.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "base/net.hpp"
#include "base/shared_memory.hpp"
#include "base/text.hpp"
#include "base/waiter.hpp"
#include "device/cuda/bounces.hpp"
#include "device/cuda/copy_queue.hpp"
#include "device/cuda/cuda_graphs.hpp"
#include "device/cuda/gdr_mappings.hpp"
#include "device/cuda/gdr_trial.hpp"
#include "device/cuda/gpu_buffers.hpp"
#include "device/cuda/gpu_group.hpp"
#include "device/cuda/pinned.hpp"
#include "device/cuda/slots.hpp"

namespace hfr {
namespace {

// What streams of the caller may still use when the communicator has gone: left to them then.
struct Lasting {
  std::shared_ptr<const CudaContext> context;
  std::shared_ptr<const void> mapping;  // the staging's
  std::shared_ptr<void> shared;         // ProcessShare
  std::shared_ptr<GpuGroup> group;
};

// The teams of a GPU's context, in and out.
using CopyTeams = std::array<std::shared_ptr<CopyTeam>, 2>;

// What the ranks of the process that share the staging's mapping have in common.
struct ProcessShare {
  std::shared_ptr<PinnedRange> pinned;
  std::mutex mutex;
  std::map<CUcontext, CopyTeams> teams;

  Result<CopyTeams> teams_of(const std::shared_ptr<const CudaContext>& context,
                             uint64_t to_device) {
    std::lock_guard lock(mutex);
    CopyTeams& found = teams[context->get()];
    for (CopyDirection direction : {CopyDirection::kIn, CopyDirection::kOut}) {
      std::shared_ptr<CopyTeam>& team = found[static_cast<size_t>(direction)];
      if (team != nullptr) continue;
      HFR_ASSIGN_OR_RETURN(team, CopyTeam::make(context, direction, to_device));
    }
    return found;
  }
};

class CudaDevice : public Device, private UserSide, public CudaGroupSide {
 public:
  // `teams`: none without memory operations.
  CudaDevice(Lasting lasting, bool memory_operations, const CopyTeams& teams, uint64_t to_device,
             uint64_t patience_ns)
      : lasting_(std::move(lasting)),
        context_(*lasting_.context),
        driver_(context_.driver()),
        memory_operations_(memory_operations),
        to_device_(to_device),
        patience_ns_(patience_ns),
        slots_(context_),
        mappings_(context_),
        buffers_(context_, mappings_),
        bounces_(context_, memory_operations, mappings_),
        graphs_(context_),
        teams_(teams) {}
  ~CudaDevice() override;

  Status open(size_t bounce_bytes);
  // From now on the CPU copies small messages; `limit`: as CudaOptions has it.
  Result<GdrLimits> use_gdr_copy(GdrCopy& gdr, std::optional<size_t> limit);

  bool host_accessible() const override { return false; }
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override {
    return queue(direction)->push(copy);
  }
  bool poll() override {
    bool moved = false;
    for (const auto& queue : queues_) {
      if (failed()) return false;
      if (queue != nullptr) moved |= queue->poll(result_);
    }
    return moved;
  }
  void cancel() override;
  bool failed() const override { return result_ != CUDA_SUCCESS; }
  Status health(bool at_any_price) override {
    // A driver call may wait for another thread's, which may wait for an early copy.
    const bool may_call = at_any_price || !has_early();
    if (!failed() && may_call) result_ = queue(CopyDirection::kIn)->query();
    return driver_.status("the GPU's copy engine", result_);
  }
  UserSide* user_side() override { return this; }

  Result<std::vector<std::byte>> offer_boxes(size_t bytes, std::shared_ptr<void>& kept) override {
    return lasting_.group->offer_boxes(bytes, kept);
  }
  Result<std::vector<std::byte*>> join(const Seat& seat, size_t& unreached) override;

 private:
  Status check_buffer(const void* buffer, size_t bytes) override {
    return buffers_.check(buffer, bytes);
  }
  Status check_stream(void* stream) override;
  Result<void*> allocate(size_t bytes) override { return buffers_.allocate(bytes); }
  Status free(void* ptr) override { return buffers_.free(ptr); }
  Status mark_input(void* stream, uint64_t op) override;
  bool takes_early() const override { return memory_operations_; }
  bool can_enqueue(size_t copies) const override {
    return !handing_over_.load(std::memory_order_acquire) &&
           !any([&](const CopyQueue& q) { return !q.all_issued() || q.room() < copies; });
  }
  size_t most_early() const override { return CopyQueue::kCapacity; }
  void submit_early(CopyDirection direction, const CopyDescriptor& copy) override {
    handing_over_.store(true, std::memory_order_relaxed);
    queue(direction)->push_early(copy);
  }
  Status begin_hand_over(void* stream, uint64_t op) override;
  Status hand_over_chunk(CopyDirection direction, size_t idx) override;
  Status end_hand_over(void* stream) override;
  Status begin_chunks() override;
  Status end_step(CopyDirection direction) override;
  bool input_ready(uint64_t op) override;
  GraphSide* graphs() override { return memory_operations_ ? &graphs_ : nullptr; }
  Bounce* take_bounce() override { return bounces_.take(); }
  void free_bounce(Bounce* bounce) override { bounces_.give_back(bounce); }
  Status bounce_in(void* stream, Bounce& bounce, const void* send, void* recv,
                   size_t bytes) override {
    bounces_.aim(bounce, send, recv, bytes);
    return driver_.status("copying a small message from the GPU",
                          bounces_.copy_in(static_cast<CUstream>(stream), bounce));
  }
  Status bounce_out(void* stream, Bounce& bounce, bool gated) override {
    const CUresult result = bounces_.copy_out(static_cast<CUstream>(stream), bounce, gated);
    HFR_RETURN_IF_ERROR(driver_.status("copying a small message to the GPU", result));
    return refusal();
  }
  Status bounce_go(Bounce& bounce) override {
    bounces_.let_go(bounce);
    return refusal();
  }
  Result<bool> bounce_came(Bounce& bounce) override {
    const bool came = bounces_.came(bounce);
    HFR_RETURN_IF_ERROR(refusal());
    if (came && bounces_.reads_as_dead(bounce)) HFR_RETURN_IF_ERROR(health(false));
    return came;
  }
  bool bounce_left(Bounce& bounce) override { return bounces_.left(bounce); }

  // Of a copy by the CPU.
  Status refusal() const {
    if (!bounces_.refused()) return Status();
    return Status(Code::kSystemError,
                  "GDRCopy refused to copy a small message; HFREDUCE_GDRCOPY_BYTES=0 goes without");
  }
  std::unique_ptr<CopyQueue>& queue(CopyDirection direction) {
    return queues_[static_cast<size_t>(direction)];
  }
  Status open_queue(CopyDirection direction);
  // Whether it holds for any queue.
  template <typename Test>
  bool any(const Test& test) const {
    for (const auto& queue : queues_) {
      if (queue != nullptr && test(*queue)) return true;
    }
    return false;
  }
  bool queues_drained() const {
    return !any([](const CopyQueue& q) { return !q.drained(); });
  }
  // Copies stand in streams that the driver has been given, and wait for the engine.
  bool has_early() const {
    return any([](const CopyQueue& q) { return q.has_early(); }) || bounces_.any_gated() ||
           graphs_.any_in_use();
  }
  // Waits at most so long for the streams to have nothing left of this rank's.
  bool drain(uint64_t patience_ns);

  Lasting lasting_;
  const CudaContext& context_;
  const Driver& driver_;
  const bool memory_operations_;
  const uint64_t to_device_;
  const uint64_t patience_ns_;
  Slots slots_;
  GdrMappings mappings_;
  GpuBuffers buffers_;
  Bounces bounces_;
  std::unique_ptr<GdrTrial> trial_;
  CudaGraphs graphs_;
  const CopyTeams teams_;
  std::array<std::unique_ptr<CopyQueue>, kNumDirections> queues_;  // null: not in a group
  bool cancelled_ = false;
  CUevent came_ = nullptr;  // the caller's stream has come to the operation
  CUevent done_ = nullptr;  // its last copy has finished
  // An operation's copies are being handed over: from submit_early() to end_hand_over(). Its first
  // chunk, and the queue that brings the last one back.
  std::atomic<bool> handing_over_{false};
  uint64_t first_chunk_ = 0;
  CopyQueue* last_queue_ = nullptr;
  // Without memory operations, by operation: an event, and the number + 1 that it was recorded for.
  std::array<CUevent, Slots::kReady> inputs_{};
  std::array<std::atomic<uint64_t>, Slots::kReady> marked_{};
  CUresult result_ = CUDA_SUCCESS;  // the first refusal
};

Status CudaDevice::open(size_t bounce_bytes) {
  HFR_RETURN_IF_ERROR(slots_.open());
  HFR_RETURN_IF_ERROR(bounces_.open(bounce_bytes));
  HFR_RETURN_IF_ERROR(open_queue(CopyDirection::kIn));
  HFR_RETURN_IF_ERROR(open_queue(CopyDirection::kOut));
  ContextScope scope(context_);
  auto make = [&](CUevent& event) {
    return driver_.status("cuEventCreate", driver_.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  };
  HFR_RETURN_IF_ERROR(make(came_));
  HFR_RETURN_IF_ERROR(make(done_));
  if (memory_operations_) return Status();
  for (CUevent& event : inputs_) HFR_RETURN_IF_ERROR(make(event));
  return Status();
}

Result<GdrLimits> CudaDevice::use_gdr_copy(GdrCopy& gdr, std::optional<size_t> limit) {
  trial_ = std::make_unique<GdrTrial>(context_, gdr, bounces_);
  HFR_ASSIGN_OR_RETURN(const GdrLimits limits, trial_->run(limit));
  mappings_.use(gdr, limits);
  return limits;
}

Status CudaDevice::open_queue(CopyDirection direction) {
  std::atomic<uint64_t>& turn = slots_.turn(direction);
  const auto idx = static_cast<size_t>(direction);
  queue(direction) = std::make_unique<CopyQueue>(
      context_, direction, memory_operations_, to_device_,
      idx < teams_.size() ? teams_[idx] : nullptr, lasting_.group->kernel());
  return queue(direction)->open(&turn, slots_.address(turn));
}

CudaDevice::~CudaDevice() {
  if (cancelled_) lasting_.group->leave_boxes();
  cancel();
  if (!drain(patience_ns_)) {
    // A stream of the caller that is still held will come by: what it will use is better lost than
    // taken from it.
    new Lasting(lasting_);
    for (auto& queue : queues_) queue.release();
    return;
  }
  ContextScope scope(context_);
  buffers_.free_all();
  for (CUevent event : inputs_) {
    if (event != nullptr) driver_.cuEventDestroy(event);
  }
  if (came_ != nullptr) driver_.cuEventDestroy(came_);
  if (done_ != nullptr) driver_.cuEventDestroy(done_);
  for (auto& queue : queues_) queue.reset();
  slots_.free();
  bounces_.free();
  graphs_.free();
  if (trial_ != nullptr) trial_->free();
}

bool CudaDevice::drain(uint64_t patience_ns) {
  const auto& out = queue(CopyDirection::kOut);
  if (out == nullptr || out->stream() == nullptr) return true;
  const uint64_t until = monotonic_ns() + patience_ns;
  Waiter waiter(WaitPolicy{});
  while (
      !(slots_.all_came() && bounces_.all_passed() && !graphs_.any_in_use() && queues_drained())) {
    if (monotonic_ns() > until) return false;
    waiter.pause();
  }
  return true;
}

void CudaDevice::cancel() {
  // Early copies are behind the caller's own stream, and so is whatever the caller does next with
  // the buffers; late ones finish soon.
  const bool early = has_early();
  cancelled_ = true;
  for (const auto& queue : queues_) {
    if (queue != nullptr) queue->cancel();
  }
  bounces_.open_all();
  if (early) return;
  while (!queues_drained()) Waiter::relax();
}

Status CudaDevice::check_stream(void* stream) {
  HFR_RETURN_IF_ERROR(context_.check_stream(static_cast<CUstream>(stream)));
  if (memory_operations_) return Status();
  HFR_ASSIGN_OR_RETURN(const bool capturing, graphs_.is_capturing(stream));
  if (!capturing) return Status();
  return Status(Code::kUnsupported,
                "the stream is being captured into a CUDA graph, and where operations are ordered "
                "by events (HFREDUCE_CUDA_MEMOPS=0, or a GPU without stream memory operations) "
                "they cannot stand in one; call outside of the capture");
}

Status CudaDevice::mark_input(void* stream, uint64_t op) {
  auto* user = static_cast<CUstream>(stream);
  ContextScope scope(context_);
  if (!memory_operations_) {
    const CUresult recorded = driver_.cuEventRecord(inputs_[op % Slots::kReady], user);
    if (recorded == CUDA_SUCCESS) marked_[op % Slots::kReady].store(op + 1);
    return driver_.status("cuEventRecord", recorded);
  }
  const CUresult result = driver_.cuStreamWriteValue64(user, slots_.address(slots_.ready(op)),
                                                       op + 1, CU_STREAM_WRITE_VALUE_DEFAULT);
  if (result == CUDA_SUCCESS) slots_.expect(op);
  return driver_.status("cuStreamWriteValue64", result);
}

bool CudaDevice::input_ready(uint64_t op) {
  if (memory_operations_) return slots_.ready(op).load(std::memory_order_acquire) >= op + 1;
  // Before it is recorded, an event tells of its last use.
  if (marked_[op % Slots::kReady].load() != op + 1) return false;
  ContextScope scope(context_);
  return driver_.cuEventQuery(inputs_[op % Slots::kReady]) == CUDA_SUCCESS;
}

Status CudaDevice::begin_hand_over(void* stream, uint64_t op) {
  ContextScope scope(context_);
  CUresult result = driver_.cuEventRecord(came_, static_cast<CUstream>(stream));
  first_chunk_ = UINT64_MAX;
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    // In any case kIn's own stream, which tells that the input is there.
    const bool waits = !queue->is_together() || queue == this->queue(CopyDirection::kIn);
    if (waits && result == CUDA_SUCCESS)
      result = driver_.cuStreamWaitEvent(queue->stream(), came_, 0);
    first_chunk_ = std::min(first_chunk_, queue->next_chunk());
  }
  const auto& pull = queue(CopyDirection::kPull);
  const bool pulls = pull != nullptr && pull->next_chunk() != UINT64_MAX;
  last_queue_ = pulls ? pull.get() : queue(CopyDirection::kOut).get();
  if (result == CUDA_SUCCESS) {
    slots_.expect(op);
    result = driver_.cuStreamWriteValue64(queue(CopyDirection::kIn)->stream(),
                                          slots_.address(slots_.ready(op)), op + 1,
                                          CU_STREAM_WRITE_VALUE_DEFAULT);
  }
  return driver_.status("handing an operation to the GPU", result);
}

Status CudaDevice::hand_over_chunk(CopyDirection direction, size_t idx) {
  const auto& copies = queue(direction);
  if (copies == nullptr || copies->next_chunk() != first_chunk_ + idx) return Status();
  ContextScope scope(context_);
  return driver_.status("handing a copy to the GPU", copies->hand_over());
}

Status CudaDevice::begin_chunks() {
  ContextScope scope(context_);
  CUresult result = CUDA_SUCCESS;
  for (const auto& queue : queues_) {
    if (queue == nullptr || !queue->is_together() || result != CUDA_SUCCESS) continue;
    result = driver_.cuStreamWaitEvent(queue->early_stream(), came_, 0);
  }
  return driver_.status("handing an operation to the GPU", result);
}

Status CudaDevice::end_step(CopyDirection direction) {
  const auto& copies = queue(direction);
  if (copies == nullptr) return Status();
  return driver_.status("handing copies to the GPU", copies->end_step());
}

Status CudaDevice::end_hand_over(void* stream) {
  ContextScope scope(context_);
  CUresult result = driver_.cuEventRecord(done_, last_queue_->early_stream());
  if (result == CUDA_SUCCESS) {
    result = driver_.cuStreamWaitEvent(static_cast<CUstream>(stream), done_, 0);
  }
  handing_over_.store(false, std::memory_order_release);
  return driver_.status("handing an operation to the GPU", result);
}

Result<std::vector<std::byte*>> CudaDevice::join(const Seat& seat, size_t& unreached) {
  HFR_ASSIGN_OR_RETURN(std::vector<std::byte*> boxes, lasting_.group->join(seat, unreached));
  for (CopyDirection direction :
       {CopyDirection::kPush, CopyDirection::kAdd, CopyDirection::kPull}) {
    HFR_RETURN_IF_ERROR(open_queue(direction));
  }
  return boxes;
}

// What copies small messages, for the log.
Result<std::string> open_gdr_copy(const CudaOptions& options, CudaDevice& device) {
  if (options.bounce_bytes == 0 || options.gdr_copy_bytes == size_t{0})
    return std::string("by copy engines");
  const Result<GdrCopy*>& found = gdr_copy();
  Result<GdrLimits> limits =
      found.ok() ? device.use_gdr_copy(**found, options.gdr_copy_bytes) : found.status();
  if (limits.ok()) {
    return cat("through GDRCopy up to ", bytes_text(limits->read), " from the GPU and ",
               bytes_text(limits->write), " to it, else by copy engines");
  }
  if (!options.gdr_copy_bytes) return cat("by copy engines (", limits.status().message(), ")");
  return Status(limits.status().code(),
                cat("HFREDUCE_GDRCOPY_BYTES asks for GDRCopy, but ", limits.status().message()));
}

}  // namespace

Result<std::string> cuda_identity(void* context, int ordinal) {
  const Result<Driver>& driver = cuda_driver();
  if (!driver.ok()) return driver.status();
  HFR_ASSIGN_OR_RETURN(const CUdevice device, CudaContext::device_of(*driver, context, ordinal));
  return CudaContext::bus_id_of(*driver, device);
}

Result<CudaDeviceInfo> open_cuda_device(const CudaOptions& options) {
  const Result<Driver>& driver = cuda_driver();
  if (!driver.ok()) return driver.status();
  HFR_ASSIGN_OR_RETURN(std::shared_ptr<CudaContext> context,
                       CudaContext::open(*driver, options.context, options.ordinal));
  auto pin = [&]() -> Result<std::shared_ptr<void>> {
    auto made = std::make_shared<ProcessShare>();
    HFR_ASSIGN_OR_RETURN(made->pinned,
                         PinnedRange::make(context, options.staging, options.staging_bytes));
    return std::shared_ptr<void>(std::move(made));
  };
  HFR_ASSIGN_OR_RETURN(std::shared_ptr<void> shared, options.once_per_mapping(pin));
  HFR_ASSIGN_OR_RETURN(CUdeviceptr address, PinnedRange::device_address(*context, options.staging));
  CudaDeviceInfo info;
  info.identity = context->bus_id();
  info.memory_operations =
      options.memory_operations &&
      context->attribute(CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS) != 0;
  const uint64_t to_device = address - reinterpret_cast<uint64_t>(options.staging);
  CopyTeams teams;
  if (info.memory_operations) {
    HFR_ASSIGN_OR_RETURN(teams,
                         static_cast<ProcessShare*>(shared.get())->teams_of(context, to_device));
  }
  auto device = std::make_unique<CudaDevice>(
      Lasting{context, options.mapping, shared, std::make_shared<GpuGroup>(context)},
      info.memory_operations, teams, to_device, options.patience_ns);
  HFR_RETURN_IF_ERROR(device->open(options.bounce_bytes));
  HFR_ASSIGN_OR_RETURN(info.small_messages, open_gdr_copy(options, *device));
  if (GroupKernel::is_built()) {
    info.group_side = device.get();
    HFR_ASSIGN_OR_RETURN(info.reaches, context->gpus_over_nvlink());
  }
  info.device = std::move(device);
  return info;
}

void* current_cuda_context() {
  const Result<Driver>& driver = cuda_driver();
  CUcontext context = nullptr;
  if (!driver.ok() || driver->cuCtxGetCurrent(&context) != CUDA_SUCCESS) return nullptr;
  return context;
}

}  // namespace hfr
