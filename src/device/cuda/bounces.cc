#include "device/cuda/bounces.hpp"

#include <algorithm>
#include <new>

#include "base/shared_memory.hpp"

namespace hfr {

Bounces::Bounces(const CudaContext& context, bool memory_operations, GdrMappings& mappings)
    : context_(context),
      memory_operations_(memory_operations),
      mappings_(mappings),
      cpu_first_(context.sees_cpu_writes() || context.can_flush_cpu_writes()),
      wait_flags_(CU_STREAM_WAIT_VALUE_GEQ |
                  (context.can_flush_cpu_writes() ? unsigned{CU_STREAM_WAIT_VALUE_FLUSH} : 0U)),
      places_(kNum + 1) {}

Status Bounces::open(size_t bytes) {
  if (bytes == 0) return Status();
  bytes_ = bytes;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent", scope.result()));
  const size_t stride = round_up(bytes, kPageBytes);
  // A line for each place's gates.
  const size_t gates_bytes = round_up(places_.size() * kCacheLine, kPageBytes);
  static_assert(2 * sizeof(Gate) <= kCacheLine);
  void* memory = nullptr;
  HFR_RETURN_IF_ERROR(
      driver.status("cuMemHostAlloc for small messages",
                    driver.cuMemHostAlloc(&memory, gates_bytes + places_.size() * stride,
                                          CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)));
  memory_ = static_cast<std::byte*>(memory);
  HFR_RETURN_IF_ERROR(driver.status("cuMemHostGetDevicePointer",
                                    driver.cuMemHostGetDevicePointer(&on_device_, memory, 0)));
  HFR_RETURN_IF_ERROR(driver.status(
      "cuStreamCreate", driver.cuStreamCreateWithPriority(&own_, CU_STREAM_NON_BLOCKING, 0)));
  for (size_t i = 0; i < places_.size(); ++i) {
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
  given.reader = given.writer = nullptr;
}

void Bounces::aim(Bounce& bounce, const void* from, void* to, size_t bytes) {
  Place& p = place(bounce);
  p.from = from;
  p.to = to;
  p.bytes = bytes;
  if (bytes == 0) return;
  p.reader = mappings_.reader(from, bytes);
  p.writer = mappings_.writer(to, bytes);
}

CUresult Bounces::copy_in(CUstream stream, Bounce& bounce) {
  Place& p = place(bounce);
  if (p.reader != nullptr && stream == nullptr) return mark_by_cpu(p.way_in);
  if (stream == nullptr) stream = own_;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  if (p.bytes > 0 && p.reader == nullptr) {
    const CUresult copied = driver.cuMemcpyDtoHAsync(
        bounce.data, reinterpret_cast<CUdeviceptr>(p.from), p.bytes, stream);
    if (copied != CUDA_SUCCESS) return copied;
  }
  return mark(stream, p.way_in, *bounce.in);
}

CUresult Bounces::copy_out(CUstream stream, Bounce& bounce, bool gated) {
  Place& p = place(bounce);
  if (!gated && p.writer != nullptr) {
    write(p);
    return mark_by_cpu(p.way_out);
  }
  if (stream == nullptr) stream = own_;
  const Driver& driver = context_.driver();
  ContextScope scope(context_);
  const bool ahead = gated && writes_ahead(p);
  if (gated) {
    p.gated = true;
    num_gated_.fetch_add(1, std::memory_order_relaxed);
    const CUresult waits =
        driver.cuStreamWaitValue64(stream, address(bounce.out->go), 1,
                                   ahead ? wait_flags_ : unsigned{CU_STREAM_WAIT_VALUE_GEQ});
    if (waits != CUDA_SUCCESS) return waits;
  }
  if (p.bytes > 0 && !ahead) {
    const CUresult copied =
        driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(p.to), bounce.data, p.bytes, stream);
    if (copied != CUDA_SUCCESS) return copied;
  }
  return mark(stream, p.way_out, *bounce.out);
}

CUresult Bounces::mark(CUstream stream, Way& way, const Gate& gate) {
  const Driver& driver = context_.driver();
  if (memory_operations_) {
    way.under_way.store(true, std::memory_order_release);
    return driver.cuStreamWriteValue64(stream, address(gate.done), 1,
                                       CU_STREAM_WRITE_VALUE_DEFAULT);
  }
  // Not before: until then the event says that its last use is over.
  const CUresult result = driver.cuEventRecord(way.event, stream);
  if (result == CUDA_SUCCESS) way.under_way.store(true, std::memory_order_release);
  return result;
}

CUresult Bounces::mark_by_cpu(Way& way) {
  way.by_cpu = true;
  way.under_way.store(true, std::memory_order_release);
  return CUDA_SUCCESS;
}

bool Bounces::came(Bounce& bounce) {
  Place& p = place(bounce);
  if (!finished(p.way_in, *bounce.in)) return false;
  if (p.reader != nullptr &&
      !p.reader->read(bounce.data, reinterpret_cast<CUdeviceptr>(p.from), p.bytes))
    refused_ = true;
  return true;
}

void Bounces::let_go(Bounce& bounce) {
  Place& p = place(bounce);
  if (writes_ahead(p)) write(p);
  // What failed is let go when everybody knows: open_all().
  if (!refused_) bounce.out->open();
}

bool Bounces::reads_as_dead(const Bounce& bounce) const {
  const auto& p = static_cast<const Place&>(bounce);
  return p.reader != nullptr &&
         std::all_of(p.data, p.data + p.bytes, [](std::byte b) { return b == std::byte{0xff}; });
}

void Bounces::write(Place& place) {
  if (!place.writer->write(reinterpret_cast<CUdeviceptr>(place.to), place.data, place.bytes))
    refused_ = true;
}

bool Bounces::left(Bounce& bounce) {
  if (!finished(place(bounce).way_out, *bounce.out)) return false;
  bounce.out->go.store(0, std::memory_order_relaxed);  // for the place's next use
  return true;
}

bool Bounces::finished(Way& way, Gate& gate) {
  if (!way.under_way.load(std::memory_order_acquire)) return false;
  if (way.by_cpu) {
    way.by_cpu = false;
  } else if (memory_operations_) {
    if (!gate.take()) return false;
  } else {
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
