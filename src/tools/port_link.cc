#include "tools/port_link.hpp"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <thread>
#include <vector>

namespace hfr::tools {

constexpr size_t kPage = 4096;

PortLink::Memory::Memory(size_t most_bytes) : half_((most_bytes + kPage - 1) / kPage * kPage) {
  // Shared, as staging is.
  void* memory =
      mmap(nullptr, 2 * half_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  std::memset(memory, 1, 2 * half_);
  begin_ = static_cast<std::byte*>(memory);
}

PortLink::Memory::~Memory() { munmap(begin_, 2 * half_); }

Result<std::unique_ptr<PortLink>> PortLink::make(std::unique_ptr<Transport> transport, int peer,
                                                 size_t most_bytes) {
  std::unique_ptr<PortLink> link(new PortLink(std::move(transport), peer, most_bytes));
  const Memory& memory = link->memory_;
  HFR_RETURN_IF_ERROR(link->transport_->register_memory(memory.source(), 2 * memory.half()));
  link->transport_->set_landing(0, memory.landing(), memory.half());
  return link;
}

Status connect_sides(Transport& one, Transport& other, uint64_t deadline_ns) {
  HFR_ASSIGN_OR_RETURN(const std::vector<std::byte> ones, one.listen());
  HFR_ASSIGN_OR_RETURN(const std::vector<std::byte> others, other.listen());
  const int sides[2] = {0, 1};
  Status connected;
  std::thread thread([&] { connected = other.connect({&sides[0], 1}, {&ones, 1}, deadline_ns); });
  const Status status = one.connect({&sides[1], 1}, {&others, 1}, deadline_ns);
  thread.join();
  HFR_RETURN_IF_ERROR(status);
  return connected;
}

bool PortLink::progress() {
  const size_t count = transport_->poll(events_);
  for (size_t i = 0; i < count; ++i) {
    switch (events_[i].kind) {
      case TransportEvent::Kind::kPutDone:
        ++num_sent_;
        break;
      case TransportEvent::Kind::kArrival:
        ++num_arrived_;
        break;
      case TransportEvent::Kind::kPeerLost:
        return false;
    }
  }
  return true;
}

bool PortLink::take() {
  if (num_taken_ == num_arrived_) return false;
  ++num_taken_;
  return true;
}

}  // namespace hfr::tools
