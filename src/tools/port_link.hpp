// PortLink: a Link (link_measure.hpp) over a Transport with one peer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.hpp"
#include "ports/transport.hpp"

namespace hfr::tools {

// Joins two transports of one process, side 0's and side 1's, that have not listened yet.
Status connect_sides(Transport& one, Transport& other, uint64_t deadline_ns);

class PortLink {
 public:
  // For messages of up to `most_bytes`; their memory is named to the transport.
  static Result<std::unique_ptr<PortLink>> make(std::unique_ptr<Transport> transport, int peer,
                                                size_t most_bytes);

  Transport& transport() { return *transport_; }

  bool send(size_t bytes) {
    return transport_->put(peer_, memory_.source(), bytes,
                           PutTag{.landing = 0, .chunk = num_put_++}, 0);
  }
  bool progress();
  uint64_t num_sent() const { return num_sent_; }
  void expect(size_t) {}  // arrivals say how long they are
  bool take();

  // Why progress() was false; empty when the peer is well.
  std::string error() const { return transport_->peer_error(peer_); }

 private:
  // Room for a source and a landing.
  class Memory {
   public:
    explicit Memory(size_t most_bytes);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::byte* source() const { return begin_; }
    std::byte* landing() const { return begin_ + half_; }
    size_t half() const { return half_; }

   private:
    const size_t half_;
    std::byte* begin_;
  };

  PortLink(std::unique_ptr<Transport> transport, int peer, size_t most_bytes)
      : memory_(most_bytes), transport_(std::move(transport)), peer_(peer) {}

  const Memory memory_;  // outlives the transport
  const std::unique_ptr<Transport> transport_;
  const int peer_;
  uint64_t num_put_ = 0;
  uint64_t num_sent_ = 0;
  uint64_t num_arrived_ = 0;
  uint64_t num_taken_ = 0;
  std::array<TransportEvent, 32> events_;
};

}  // namespace hfr::tools
