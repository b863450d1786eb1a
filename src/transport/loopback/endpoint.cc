#include "transport/loopback/endpoint.hpp"

#include <cstring>
#include <utility>

#include "base/text.hpp"

namespace hfr::loopback {

Endpoint::Endpoint(int peer, std::shared_ptr<Connection> connection, int side,
                   const LandingTable& landings)
    : peer_(peer), connection_(std::move(connection)), side_(side), landings_(landings) {}

bool Endpoint::put(const void* src, size_t bytes, const PutTag& tag, Token token) {
  if (lost_ || closed_ || queued_ - reported_ == Direction::kDepth) return false;
  tokens_[queued_ % Direction::kDepth] = token;
  Direction::Entry& entry = out().entries[queued_ % Direction::kDepth];
  entry.tag = tag;
  entry.bytes = bytes;
  entry.src = static_cast<const std::byte*>(src);
  if (bytes <= Direction::kInlineBytes) {
    if (bytes > 0) std::memcpy(entry.inline_payload.data(), src, bytes);
    entry.src = nullptr;
  }
  out().queued.value.store(++queued_, std::memory_order_seq_cst);
  connection_->side[1 - side_].doorbell->ring();
  return true;
}

size_t Endpoint::poll(std::span<TransportEvent> events) {
  size_t count = 0;
  const uint64_t done = out().taken.load();
  while (reported_ != done && count < events.size()) {
    TransportEvent& event = events[count++];
    event.kind = TransportEvent::Kind::kPutDone;
    event.peer = peer_;
    event.token = tokens_[reported_++ % Direction::kDepth];
  }
  if (lost_) {
    if (!loss_reported_ && count < events.size()) {
      loss_reported_ = true;
      TransportEvent& event = events[count++];
      event.kind = TransportEvent::Kind::kPeerLost;
      event.peer = peer_;
    }
    return count;
  }
  if (closed_) return count;
  const bool gone = peer_closed();
  const uint64_t queued = in().queued.load();
  bool took = false;
  while (!lost_ && taken_ != queued && count < events.size()) {
    const Direction::Entry& entry = in().entries[taken_ % Direction::kDepth];
    if (!take(entry)) break;
    TransportEvent& event = events[count++];
    event.kind = TransportEvent::Kind::kArrival;
    event.peer = peer_;
    event.tag = entry.tag;
    event.bytes = entry.bytes;
    in().taken.value.store(++taken_, std::memory_order_seq_cst);
    took = true;
  }
  if (took) connection_->side[1 - side_].doorbell->ring();
  if (gone && !lost_ && taken_ == queued) lose("it closed the connection");
  return count;
}

bool Endpoint::take(const Direction::Entry& entry) {
  const Landing* landing = landings_.find(entry.tag.landing);
  if (landing == nullptr) {
    lose(cat("it sent ", entry.bytes, " bytes to landing ", entry.tag.landing,
             ", which does not exist here"));
    return false;
  }
  if (entry.bytes > landing->bytes) {
    lose(cat("it sent ", entry.bytes, " bytes to landing ", entry.tag.landing, ", which holds ",
             landing->bytes));
    return false;
  }
  if (entry.src == nullptr) {
    if (entry.bytes > 0) std::memcpy(landing->memory, entry.inline_payload.data(), entry.bytes);
    return true;
  }
  if (!connection_->begin_copy(side_)) {
    lose("it closed the connection in the middle of a message");
    return false;
  }
  std::memcpy(landing->memory, entry.src, entry.bytes);
  connection_->end_copy(side_);
  return true;
}

bool Endpoint::has_work() const {
  if (lost_) return !loss_reported_;
  return out().taken.value.load(std::memory_order_seq_cst) != reported_ ||
         in().queued.value.load(std::memory_order_seq_cst) != taken_ || peer_closed();
}

bool Endpoint::peer_closed() const {
  return connection_->side[1 - side_].closed.load(std::memory_order_seq_cst);
}

void Endpoint::close() {
  if (closed_) return;
  closed_ = true;
  connection_->close(side_);
}

void Endpoint::lose(std::string why) {
  lost_ = true;
  error_ = cat("lost rank ", peer_, ": ", why);
  close();
}

}  // namespace hfr::loopback
