#include "device/cuda/cuda_device.hpp"

#include <map>
#include <mutex>

#include "base/net.hpp"
#include "base/shared_memory.hpp"
#include "base/text.hpp"
#include "base/waiter.hpp"
#include "device/cuda/bounces.hpp"
#include "device/cuda/copy_queue.hpp"
#include "device/cuda/cuda_graphs.hpp"
#include "device/cuda/pinned.hpp"
#include "device/cuda/slots.hpp"

namespace hfr {
namespace {

// What streams of the caller may still use when the communicator has gone: left to them then.
struct Lasting {
  std::shared_ptr<const CudaContext> context;
  std::shared_ptr<const void> mapping;  // the staging's
  std::shared_ptr<void> pinned;
};

class CudaDevice : public Device, private UserSide {
 public:
  CudaDevice(Lasting lasting, bool memory_operations, uint64_t to_device, uint64_t patience_ns)
      : lasting_(std::move(lasting)),
        context_(*lasting_.context),
        driver_(context_.driver()),
        memory_operations_(memory_operations),
        patience_ns_(patience_ns),
        slots_(context_),
        bounces_(context_, memory_operations),
        graphs_(context_),
        in_(std::make_unique<CopyQueue>(context_, CopyDirection::kIn, memory_operations,
                                        to_device)),
        out_(std::make_unique<CopyQueue>(context_, CopyDirection::kOut, memory_operations,
                                         to_device)) {}
  ~CudaDevice() override;

  Status open(size_t bounce_bytes);

  bool host_accessible() const override { return false; }
  bool submit(CopyDirection direction, const CopyDescriptor& copy) override {
    return queue(direction).push(copy);
  }
  bool poll() override {
    if (failed()) return false;
    bool moved = in_->poll(result_);
    moved |= out_->poll(result_);
    return moved;
  }
  void cancel() override;
  bool failed() const override { return result_ != CUDA_SUCCESS; }
  Status health(bool at_any_price) override {
    // A driver call may wait for another thread's, which may wait for an early copy.
    const bool may_call = at_any_price || !has_early();
    if (!failed() && may_call) result_ = in_->query();
    return driver_.status("the GPU's copy engine", result_);
  }
  UserSide* user_side() override { return this; }

 private:
  Status check_buffer(const void* buffer, size_t bytes) override;
  Status check_stream(void* stream) override;
  Result<void*> allocate(size_t bytes) override;
  Status free(void* ptr) override;
  Status mark_input(void* stream, uint64_t op) override;
  bool takes_early() const override { return memory_operations_; }
  bool can_enqueue(size_t copies) const override {
    return in_->all_issued() && out_->all_issued() && in_->room() >= copies &&
           out_->room() >= copies;
  }
  size_t most_early() const override { return CopyQueue::kCapacity; }
  void submit_early(CopyDirection direction, const CopyDescriptor& copy) override {
    queue(direction).push_early(copy);
  }
  Status begin_hand_over(void* stream, uint64_t op) override;
  Status hand_over_copy(CopyDirection direction) override {
    ContextScope scope(context_);
    return driver_.status("handing a copy to the GPU", queue(direction).hand_over());
  }
  Status end_hand_over(void* stream) override;
  bool input_ready(uint64_t op) override;
  GraphSide* graphs() override { return memory_operations_ ? &graphs_ : nullptr; }
  Bounce* take_bounce() override { return bounces_.take(); }
  void free_bounce(Bounce* bounce) override { bounces_.give_back(bounce); }
  Status bounce_in(void* stream, Bounce& bounce, const void* send, size_t bytes) override {
    return driver_.status("copying a small message from the GPU",
                          bounces_.copy_in(static_cast<CUstream>(stream), bounce, send, bytes));
  }
  Status bounce_out(void* stream, Bounce& bounce, void* recv, size_t bytes, bool gated) override {
    return driver_.status(
        "copying a small message to the GPU",
        bounces_.copy_out(static_cast<CUstream>(stream), bounce, recv, bytes, gated));
  }
  bool bounce_came(Bounce& bounce) override { return bounces_.came(bounce); }
  bool bounce_left(Bounce& bounce) override { return bounces_.left(bounce); }

  // Copies stand in streams that the driver has been given, and wait for the engine.
  bool has_early() const {
    return in_->has_early() || out_->has_early() || bounces_.any_gated() || graphs_.any_in_use();
  }
  CopyQueue& queue(CopyDirection direction) {
    return direction == CopyDirection::kIn ? *in_ : *out_;
  }
  // Waits at most so long for the streams to have nothing left of this rank's.
  bool drain(uint64_t patience_ns);
  Status check_address(const void* address) const;

  Lasting lasting_;
  const CudaContext& context_;
  const Driver& driver_;
  const bool memory_operations_;
  const uint64_t patience_ns_;
  Slots slots_;
  Bounces bounces_;
  CudaGraphs graphs_;
  std::unique_ptr<CopyQueue> in_;
  std::unique_ptr<CopyQueue> out_;
  CUevent came_ = nullptr;  // the caller's stream has come to the operation
  CUevent done_ = nullptr;  // its last copy-out has finished
  // Without memory operations, by operation: an event, and the number + 1 that it was recorded for.
  std::array<CUevent, Slots::kReady> inputs_{};
  std::array<std::atomic<uint64_t>, Slots::kReady> marked_{};
  CUresult result_ = CUDA_SUCCESS;  // the first refusal
  std::mutex mutex_;
  std::map<void*, CUdeviceptr> allocated_;  // what allocate() returned, and what it got
};

Status CudaDevice::open(size_t bounce_bytes) {
  HFR_RETURN_IF_ERROR(slots_.open());
  HFR_RETURN_IF_ERROR(bounces_.open(bounce_bytes));
  for (CopyDirection direction : {CopyDirection::kIn, CopyDirection::kOut}) {
    std::atomic<uint64_t>& turn = slots_.turn(direction);
    HFR_RETURN_IF_ERROR(queue(direction).open(&turn, slots_.address(turn)));
  }
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

CudaDevice::~CudaDevice() {
  cancel();
  if (!drain(patience_ns_)) {
    // A stream of the caller that is still held will come by: what it will use is better lost than
    // taken from it.
    new Lasting(lasting_);
    in_.release();
    out_.release();
    return;
  }
  ContextScope scope(context_);
  for (const auto& [ptr, memory] : allocated_) driver_.cuMemFree(memory);
  for (CUevent event : inputs_) {
    if (event != nullptr) driver_.cuEventDestroy(event);
  }
  if (came_ != nullptr) driver_.cuEventDestroy(came_);
  if (done_ != nullptr) driver_.cuEventDestroy(done_);
  in_.reset();
  out_.reset();
  slots_.free();
  bounces_.free();
  graphs_.free();
}

bool CudaDevice::drain(uint64_t patience_ns) {
  if (in_->stream() == nullptr || out_->stream() == nullptr) return true;
  const uint64_t until = monotonic_ns() + patience_ns;
  Waiter waiter(WaitPolicy{});
  while (!(slots_.all_came() && bounces_.all_passed() && !graphs_.any_in_use() && in_->drained() &&
           out_->drained())) {
    if (monotonic_ns() > until) return false;
    waiter.pause();
  }
  return true;
}

void CudaDevice::cancel() {
  // Early copies are behind the caller's own stream, and so is whatever the caller does next with
  // the buffers; late ones finish soon.
  const bool early = has_early();
  in_->cancel();
  out_->cancel();
  bounces_.open_all();
  if (early) return;
  while (!(in_->drained() && out_->drained())) Waiter::relax();
}

Status CudaDevice::check_stream(void* stream) {
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
  for (const auto& copies : {in_->stream(), out_->stream()}) {
    if (result == CUDA_SUCCESS) result = driver_.cuStreamWaitEvent(copies, came_, 0);
  }
  if (result == CUDA_SUCCESS) {
    slots_.expect(op);
    result = driver_.cuStreamWriteValue64(in_->stream(), slots_.address(slots_.ready(op)), op + 1,
                                          CU_STREAM_WRITE_VALUE_DEFAULT);
  }
  return driver_.status("handing an operation to the GPU", result);
}

Status CudaDevice::end_hand_over(void* stream) {
  ContextScope scope(context_);
  CUresult result = driver_.cuEventRecord(done_, out_->stream());
  if (result == CUDA_SUCCESS) {
    result = driver_.cuStreamWaitEvent(static_cast<CUstream>(stream), done_, 0);
  }
  return driver_.status("handing an operation to the GPU", result);
}

Status CudaDevice::check_buffer(const void* buffer, size_t bytes) {
  HFR_RETURN_IF_ERROR(check_address(buffer));
  if (bytes < kPageBytes) return Status();
  Status last = check_address(static_cast<const std::byte*>(buffer) + bytes - 1);
  if (last.ok()) return last;
  return Status(last.code(), cat("'s last byte, ", bytes_text(bytes), " on", last.message()));
}

Status CudaDevice::check_address(const void* address) const {
  std::array<CUpointer_attribute, 3> names = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                              CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                              CU_POINTER_ATTRIBUTE_IS_MANAGED};
  unsigned type = 0;
  int device = -1;
  int managed = 0;
  std::array<void*, 3> values = {&type, &device, &managed};
  ContextScope scope(context_);
  const CUresult result =
      driver_.cuPointerGetAttributes(static_cast<unsigned>(names.size()), names.data(),
                                     values.data(), reinterpret_cast<CUdeviceptr>(address));
  if (result != CUDA_SUCCESS) {
    return Status(Code::kInvalidArgument, driver_.text(" cannot be looked up", result));
  }
  if (managed != 0) {
    return Status(Code::kInvalidArgument,
                  " is managed memory, which may move under a copy; allocate it with cuMemAlloc, "
                  "cudaMalloc or hfr_mem_alloc");
  }
  if (type != CU_MEMORYTYPE_DEVICE) {
    return Status(Code::kInvalidArgument,
                  " is no memory of a GPU, but this rank's communicator was made for CUDA; pass a "
                  "device pointer, or make the communicator with HFR_DEVICE_HOST");
  }
  if (device != context_.device()) {
    return Status(Code::kInvalidArgument,
                  cat(" is on CUDA device ", device,
                      ", but this rank's communicator was made on "
                      "device ",
                      context_.device(), "; make that device current before hfr_comm_init_*"));
  }
  return Status();
}

Result<void*> CudaDevice::allocate(size_t bytes) {
  // The driver aligns small blocks to less than a page.
  const size_t size = round_up(bytes == 0 ? 1 : bytes, kPageBytes) + kPageBytes;
  ContextScope scope(context_);
  CUdeviceptr memory = 0;
  if (CUresult refused = driver_.cuMemAlloc(&memory, size); refused != CUDA_SUCCESS) {
    return driver_.status(cat("hfr_mem_alloc of ", bytes_text(bytes), " on the GPU"), refused);
  }
  // On a stream of its own: the others may wait for the caller.
  CUstream stream = nullptr;
  CUresult result = driver_.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0);
  if (result == CUDA_SUCCESS) {
    result = driver_.cuMemsetD8Async(memory, 0, size, stream);
    if (result == CUDA_SUCCESS) result = driver_.cuStreamSynchronize(stream);
    driver_.cuStreamDestroy(stream);
  }
  if (result != CUDA_SUCCESS) {
    driver_.cuMemFree(memory);
    return driver_.status("hfr_mem_alloc", result);
  }
  auto* ptr = reinterpret_cast<void*>(round_up(memory, kPageBytes));
  std::lock_guard lock(mutex_);
  allocated_.emplace(ptr, memory);
  return ptr;
}

Status CudaDevice::free(void* ptr) {
  CUdeviceptr memory = 0;
  {
    std::lock_guard lock(mutex_);
    auto found = allocated_.find(ptr);
    if (found == allocated_.end()) {
      return Status(
          Code::kInvalidArgument,
          "hfr_mem_free: this address is not one that hfr_mem_alloc of this communicator returned");
    }
    memory = found->second;
    allocated_.erase(found);
  }
  ContextScope scope(context_);
  return driver_.status("hfr_mem_free", driver_.cuMemFree(memory));
}

}  // namespace

Result<CudaDeviceInfo> open_cuda_device(const CudaOptions& options) {
  const Result<Driver>& driver = cuda_driver();
  if (!driver.ok()) return driver.status();
  HFR_ASSIGN_OR_RETURN(std::shared_ptr<CudaContext> context,
                       CudaContext::open(*driver, options.context, options.ordinal));
  auto pin = [&]() -> Result<std::shared_ptr<void>> {
    HFR_ASSIGN_OR_RETURN(auto pinned,
                         PinnedRange::make(context, options.staging, options.staging_bytes));
    return std::shared_ptr<void>(std::move(pinned));
  };
  HFR_ASSIGN_OR_RETURN(std::shared_ptr<void> pinned, options.once_per_mapping(pin));
  HFR_ASSIGN_OR_RETURN(CUdeviceptr address, PinnedRange::device_address(*context, options.staging));
  CudaDeviceInfo info;
  info.identity = context->bus_id();
  info.memory_operations =
      options.memory_operations &&
      context->attribute(CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS) != 0;
  auto device = std::make_unique<CudaDevice>(
      Lasting{context, options.mapping, std::move(pinned)}, info.memory_operations,
      address - reinterpret_cast<uint64_t>(options.staging), options.patience_ns);
  HFR_RETURN_IF_ERROR(device->open(options.bounce_bytes));
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
