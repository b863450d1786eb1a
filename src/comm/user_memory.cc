// The caller's memory from hfr_mem_alloc: on its GPU, or in the heap that the node's ranks share.
#include "base/text.hpp"
#include "comm/communicator.hpp"

namespace hfr {

Result<void*> Communicator::allocate(size_t bytes) {
  auto memory = take_memory(bytes);
  if (memory.ok()) ++num_allocated_;
  return memory;
}

Result<void*> Communicator::take_memory(size_t bytes) {
  if (user_side_ != nullptr) return user_side_->allocate(bytes);
  std::call_once(heap_once_, [this] {
    auto memory = parts_.memory->heap();
    if (!memory.ok()) {
      heap_status_ = memory.status();
      return;
    }
    engine_.lock(*this);
    context_.heap_base();
    engine_.unlock();
    size_t offset = parts_.heap_bytes * static_cast<size_t>(parts_.shape.local_rank);
    heap_ = std::make_unique<Heap>(**memory, offset, parts_.heap_bytes,
                                   parts_.config.huge_pages == "auto");
  });
  if (!heap_status_.ok()) return heap_status_;
  HFR_ASSIGN_OR_RETURN(void* const memory, heap_->allocate(bytes));
  if (sends_from_heap()) {
    engine_.lock(*this);
    const Status status = parts_.transport->register_memory(memory, bytes);
    engine_.unlock();
    if (!status.ok() && !told_of_copies_.exchange(true)) {
      parts_.logger.of(Subsystem::kTransport)
          .log(LogLevel::kWarn, "hfr_mem_alloc: what is sent from ", bytes_text(bytes),
               " is copied first, as it could not be registered: ", status.message());
    }
  }
  return memory;
}

// A rank that is alone on its node sends from its buffers; others send from staging.
bool Communicator::sends_from_heap() const {
  return parts_.transport != nullptr && parts_.shape.num_local() == 1;
}

Status Communicator::free(void* ptr) {
  const Status status = give_memory_back(ptr);
  if (status.ok()) --num_allocated_;
  return status;
}

Status Communicator::give_memory_back(void* ptr) {
  if (user_side_ != nullptr) return user_side_->free(ptr);
  if (heap_ == nullptr) {
    return Status(Code::kInvalidArgument,
                  "hfr_mem_free: this communicator has allocated no memory");
  }
  if (sends_from_heap()) {
    // Before another block can lie there: a device would go on reading the old one's pages.
    engine_.lock(*this);
    parts_.transport->forget_memory(ptr);
    engine_.unlock();
  }
  return heap_->free(ptr);
}

}  // namespace hfr
