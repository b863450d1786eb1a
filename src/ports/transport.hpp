// Transport: moves bytes into memory of other nodes' owners.
//
// A receiver has *landings*: numbered places where a peer's bytes go. put() carries the landing's
// number; when the bytes are there the receiver's poll() reports an arrival. Where a landing lies
// may change between two arrivals in it (set_landing), never while one can be under way.
//
// Set-up (listen, connect) may block until its deadline and explains failures. The datapath (put,
// poll) never blocks, allocates or throws. Threads: one thread at a time (the executor's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/meter.hpp"
#include "base/status.hpp"
#include "ports/completion.hpp"

namespace hfr {

// Travels with every put; all of it fits a small header.
struct PutTag {
  uint32_t landing = 0;    // the receiver's landing number
  uint64_t chunk = 0;      // chunk number in the communicator's life
  uint64_t signature = 0;  // what the sender thinks the operation is (base/signature.hpp)
  uint32_t checksum = 0;   // of the bytes, where it was asked for (docs/integrity.md)
};

struct TransportEvent {
  enum class Kind : uint8_t { kPutDone, kArrival, kPeerLost };
  Kind kind = Kind::kPutDone;
  int peer = -1;       // rank of the other side
  Token token = 0;     // kPutDone: the put's; its source memory may be reused
  PutTag tag;          // kArrival
  uint64_t bytes = 0;  // kArrival
};

struct TransportCapabilities {
  const char* name = "";
  size_t preferred_put_bytes = 0;  // chunks of about this size move fastest
  size_t max_inline_bytes = 0;     // puts up to this many bytes may reuse their source at once
  // A peer may need this side's poll() although nothing of this side's is under way.
  bool needs_attendance = false;
  bool rdma = false;  // NICs move the bytes, not threads
};

// Connections that broke and were made anew.
struct LinkMeters {
  Meter broken;
  Meter mended;
};

class Transport {
 public:
  virtual ~Transport() = default;

  virtual TransportCapabilities capabilities() const = 0;

  // Any time before stop(), may block: puts from and to [memory, memory + bytes) need no copy from
  // now on, as long as this lives or until forget_memory(). Elsewhere they work too. Nothing to do
  // where bytes pass through the kernel anyway.
  virtual Status register_memory(void* /*memory*/, size_t /*bytes*/) { return Status(); }
  // Takes a registration back, by its address. No put from or to the memory is under way.
  virtual void forget_memory(void* /*memory*/) {}
  // A put of these bytes is sent from where they lie; else they are copied first.
  virtual bool sends_in_place(const void* /*src*/, size_t /*bytes*/) const { return true; }

  // Set-up, in this order: every rank calls listen() once and publishes the bytes it returns; then,
  // with the bytes of every peer it talks to, connect(). `addresses[i]` belongs to rank `peers[i]`;
  // both sides name each other. Returns when every connection is up and authenticated.
  virtual Result<std::vector<std::byte>> listen() = 0;
  virtual Status connect(std::span<const int> peers,
                         std::span<const std::vector<std::byte>> addresses,
                         uint64_t deadline_ns) = 0;

  // Landing `number` is at [memory, memory + bytes). Numbers are small and dense.
  virtual void set_landing(uint32_t number, void* memory, size_t bytes) = 0;

  // Sends [src, src + bytes), less than 4 GiB, to `peer`'s landing. The memory stays untouched
  // until kPutDone(token). False when no more can be queued now: poll and try again. Puts to one
  // peer arrive in order. What kPutDone reported still arrives when this side ends afterwards; only
  // then comes kPeerLost.
  virtual bool put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) = 0;

  // A hint for the next poll() alone: nothing goes on before a put of `peer` is here, or, with
  // kNobody, for any put. Where reading costs much, other arrivals and losses may be reported some
  // polls later; kPutDone is as ever.
  static constexpr int kNobody = -1;
  virtual void expect(int /*peer*/) {}

  // Moves everything on and fills `events`; returns how many. Never blocks.
  virtual size_t poll(std::span<TransportEvent> events) = 0;

  // Now and then while poll() finds nothing, with the time, which poll() does not look at: whether
  // a connection has been silent for too long.
  virtual void watch(uint64_t /*now_ns*/) {}

  // Sleeps until poll() may have something, at most `timeout_ns`. For long waits only.
  virtual void sleep(uint64_t timeout_ns) = 0;

  // For a rank that has failed. Afterwards nothing reads its sources or writes its landings, put()
  // takes nothing and poll() reports nothing. Peers may learn of it as a loss.
  virtual void stop() = 0;

  // Null where connections are not mended. Any thread reads them.
  virtual const LinkMeters* link_meters() const { return nullptr; }

  // Why `peer` was lost; a sentence, empty when it was not.
  virtual std::string peer_error(int peer) const = 0;
};

// The proof of membership that runs on a fresh connection before anything else is parsed.
// Implemented by bootstrap/, used by transports that own sockets.
class Handshake {
 public:
  virtual ~Handshake() = default;
  enum class Side : uint8_t { kConnecting, kAccepting };
  // Proves to each other that both hold the communicator's secret, over the connected socket `fd`.
  // Blocks until `deadline_ns` at most. Returns the peer's rank, as it proved it.
  virtual Result<int> run(int fd, Side side, uint64_t deadline_ns) const = 0;
};

}  // namespace hfr
