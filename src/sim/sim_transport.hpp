// SimTransport: puts between owners, in virtual time. Puts to one peer go one after the other: each
// takes the overhead of a put, then its bytes flow; they have arrived a latency later. The source
// is free again after one more latency, when the receiver's NIC has acknowledged them; over a
// socket at once.
//
// What was under way when a link broke starts again when it is back. A peer is lost when its system
// says so, or when nothing was acknowledged for too long.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "ports/transport.hpp"
#include "sim/event_loop.hpp"
#include "sim/links.hpp"
#include "sim/machine.hpp"
#include "sim/spans.hpp"
#include "sim/wakes.hpp"

namespace hfr::sim {

class SimTransport;

// All ranks' transports, by rank.
using TransportDirectory = std::vector<SimTransport*>;

class SimTransport : public Transport {
 public:
  struct Parts {
    EventLoop& loop;
    const Machine& machine;
    Wakes& wakes;
    const TransportDirectory& directory;
    Links& links;
    SimTime gives_up_after;  // without an acknowledgement; kNever: it goes on trying
    bool moves_bytes;
    SpanLog* log;
  };
  SimTransport(const Parts& parts, const Place& place);
  ~SimTransport() override;

  TransportCapabilities capabilities() const override { return {"sim", size_t{1} << 20, 0}; }
  Result<std::vector<std::byte>> listen() override { return std::vector<std::byte>(); }
  // Everybody is connected.
  Status connect(std::span<const int> peers, std::span<const std::vector<std::byte>> addresses,
                 uint64_t deadline_ns) override;
  void set_landing(uint32_t number, void* memory, size_t bytes) override;
  bool put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) override;
  size_t poll(std::span<TransportEvent> events) override;
  void sleep(uint64_t) override {}
  // Verbs close what they have, and peers hear of it; sockets stay open as long as the process.
  void stop() override;
  // The process has ended, and its system tells the peers.
  void close();
  // Without power: nobody hears of it.
  void vanish();
  std::string peer_error(int peer) const override;

  const Place& place() const { return place_; }

 private:
  class Connection;

  Connection& connection(int peer);
  void report(const TransportEvent& event);
  // The bytes of a put lie in its landing; it is known that they do.
  void take(const void* src, size_t bytes, const PutTag& tag);
  void arrive(int from, size_t bytes, const PutTag& tag);
  void lose(int peer);

  const Parts parts_;
  const Place place_;
  std::vector<std::byte*> landings_;
  std::vector<std::unique_ptr<Connection>> connections_;  // in the order of first use
  std::vector<int> known_by_;                             // who has a connection to this one
  std::vector<int> lost_;
  std::deque<TransportEvent> events_;
  bool stopped_ = false;  // takes nothing and sends nothing
  bool closed_ = false;   // its peers hear of it
};

}  // namespace hfr::sim
