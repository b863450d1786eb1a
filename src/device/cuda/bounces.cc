#include "device/cuda/bounces.hpp"

#include <new>

#include "base/shared_memory.hpp"

namespace hfr {

Status Bounces::open(size_t bytes) {
  if (bytes == 0) return Status();
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent", scope.result()));
  const size_t stride = round_up(bytes, kPageBytes);
  // A line for each place's gates.
  const size_t gates_bytes = round_up(kNum * kCacheLine, kPageBytes);
  static_assert(2 * sizeof(Gate) <= kCacheLine);
  void* memory = nullptr;
  HFR_RETURN_IF_ERROR(
      driver.status("cuMemHostAlloc for small messages",
                    driver.cuMemHostAlloc(&memory, gates_bytes + kNum * stride,
                                          CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)));
  memory_ = static_cast<std::byte*>(memory);
  HFR_RETURN_IF_ERROR(driver.status("cuMemHostGetDevicePointer",
                                    driver.cuMemHostGetDevicePointer(&on_device_, memory, 0)));
  HFR_RETURN_IF_ERROR(driver.status(
      "cuStreamCreate", driver.cuStreamCreateWithPriority(&own_, CU_STREAM_NON_BLOCKING, 0)));
  for (size_t i = 0; i < kNum; ++i) {
    Place& place = places_[i];
    place.data = memory_ + gates_bytes + i * stride;
    place.in = new (memory_ + i * kCacheLine) Gate;
    place.out = new (memory_ + i * kCacheLine + sizeof(Gate)) Gate;
    if (memory_operations_) continue;
    for (Way* way : {&place.way_in, &place.way_out}) {
      HFR_RETURN_IF_ERROR(driver.status(
          "cuEventCreate", driver.cuEventCreate(&way->event, CU_EVENT_DISABLE_TIMING)));
    }
  }
  return Status();
}

void Bounces::free() {
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  for (Place& place : places_) {
    for (CUevent event : {place.way_in.event, place.way_out.event}) {
      if (event != nullptr) driver.cuEventDestroy(event);
    }
  }
  if (own_ != nullptr) driver.cuStreamDestroy(own_);
  if (memory_ != nullptr) driver.cuMemFreeHost(memory_);
}

Bounce* Bounces::take() {
  // In turn: those of operations that complete in order come free in order.
  Place& place = places_[next_ % kNum];
  if (place.in_use) return nullptr;
  ++next_;
  place.in_use = true;
  return &place;
}

void Bounces::give_back(Bounce* bounce) {
  Place& given = place(*bounce);
  given.in_use = false;
  if (given.gated) num_gated_.fetch_sub(1, std::memory_order_relaxed);
  given.gated = false;
}

CUresult Bounces::copy_in(CUstream stream, Bounce& bounce, const void* from, size_t bytes) {
  if (stream == nullptr) stream = own_;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  if (bytes > 0) {
    const CUresult copied =
        driver.cuMemcpyDtoHAsync(bounce.data, reinterpret_cast<CUdeviceptr>(from), bytes, stream);
    if (copied != CUDA_SUCCESS) return copied;
  }
  return mark(stream, place(bounce).way_in, *bounce.in);
}

CUresult Bounces::copy_out(CUstream stream, Bounce& bounce, void* to, size_t bytes, bool gated) {
  if (stream == nullptr) stream = own_;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  if (gated) {
    place(bounce).gated = true;
    num_gated_.fetch_add(1, std::memory_order_relaxed);
    const CUresult waits =
        driver.cuStreamWaitValue64(stream, address(bounce.out->go), 1, CU_STREAM_WAIT_VALUE_GEQ);
    if (waits != CUDA_SUCCESS) return waits;
  }
  if (bytes > 0) {
    const CUresult copied =
        driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(to), bounce.data, bytes, stream);
    if (copied != CUDA_SUCCESS) return copied;
  }
  return mark(stream, place(bounce).way_out, *bounce.out);
}

CUresult Bounces::mark(CUstream stream, Way& way, const Gate& gate) {
  const Driver& driver = context_.driver();
  if (memory_operations_) {
    way.under_way.store(true, std::memory_order_relaxed);
    return driver.cuStreamWriteValue64(stream, address(gate.done), 1,
                                       CU_STREAM_WRITE_VALUE_DEFAULT);
  }
  // Not before: until then the event says that its last use is over.
  const CUresult result = driver.cuEventRecord(way.event, stream);
  if (result == CUDA_SUCCESS) way.under_way.store(true, std::memory_order_release);
  return result;
}

bool Bounces::left(Bounce& bounce) {
  if (!finished(place(bounce).way_out, *bounce.out)) return false;
  bounce.out->go.store(0, std::memory_order_relaxed);  // for the place's next use
  return true;
}

bool Bounces::finished(Way& way, Gate& gate) {
  if (memory_operations_) {
    if (!gate.take()) return false;
  } else {
    if (!way.under_way.load(std::memory_order_acquire)) return false;
    ContextScope scope(context_);
    if (context_.driver().cuEventQuery(way.event) != CUDA_SUCCESS) return false;
  }
  way.under_way.store(false, std::memory_order_relaxed);
  return true;
}

void Bounces::open_all() {
  for (Place& place : places_) {
    if (place.out != nullptr) place.out->open();
  }
}

bool Bounces::all_passed() {
  auto passed = [&](Way& way, Gate* gate) {
    return !way.under_way.load(std::memory_order_relaxed) || finished(way, *gate);
  };
  for (Place& place : places_) {
    if (!passed(place.way_in, place.in) || !passed(place.way_out, place.out)) return false;
  }
  return true;
}

}  // namespace hfr
