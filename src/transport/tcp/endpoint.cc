#include "transport/tcp/endpoint.hpp"

#include <utility>

#include "base/text.hpp"

namespace hfr::tcp {

Endpoint::Endpoint(int peer, std::vector<UniqueFd> sockets, const LandingTable& landings)
    : peer_(peer) {
  connections_.reserve(sockets.size());
  for (UniqueFd& socket : sockets) connections_.emplace_back(std::move(socket), landings);
}

bool Endpoint::put(const void* src, size_t bytes, const PutTag& tag, Token token) {
  if (lost_) return false;
  Connection& connection = connections_[routes_.of(tag.landing, connections_.size())];
  if (connection.send_queue_full()) return false;
  connection.send({tag.landing, next_sent_++, static_cast<uint32_t>(bytes), tag.checksum, tag.chunk,
                   tag.signature},
                  src, token);
  return true;
}

bool Endpoint::has_work() const {
  if (lost_) return !loss_reported_;
  for (const Connection& connection : connections_) {
    if (connection.has_done() || connection.readable() || connection.has_buffered()) return true;
    if (connection.has_frame() && connection.frame().sequence == next_reported_) return true;
  }
  return false;
}

size_t Endpoint::poll(std::span<TransportEvent> events) {
  size_t count = 0;
  if (!lost_) {
    for (Connection& connection : connections_) {
      if (connection.has_unsent()) connection.flush();
      while (connection.has_done() && count < events.size()) {
        TransportEvent& event = events[count++];
        event.kind = TransportEvent::Kind::kPutDone;
        event.peer = peer_;
        event.token = connection.take_done();
      }
      connection.begin_turn();
    }
    // A connection that runs ahead keeps its frame until the others have caught up; the sender
    // hands the lowest sequence to the kernel first, so one connection can always go on.
    for (bool moved = true; moved;) {
      moved = false;
      for (Connection& connection : connections_) {
        while (count < events.size() && connection.advance()) {
          const FrameHeader& frame = connection.frame();
          if (frame.sequence != next_reported_) {
            bool ahead = static_cast<int32_t>(frame.sequence - next_reported_) > 0;
            if (connections_.size() == 1 || !ahead) {
              connection.violate(cat("it sent frame ", frame.sequence, " where frame ",
                                     next_reported_, " was due"));
            }
            break;
          }
          TransportEvent& event = events[count++];
          event.kind = TransportEvent::Kind::kArrival;
          event.peer = peer_;
          event.tag = {frame.landing, frame.chunk, frame.signature, frame.checksum};
          event.bytes = frame.bytes;
          ++next_reported_;
          connection.take_frame();
          moved = connections_.size() > 1;
        }
      }
    }
    check_loss();
  }
  if (lost_ && !loss_reported_ && count < events.size()) {
    loss_reported_ = true;
    TransportEvent& event = events[count++];
    event.kind = TransportEvent::Kind::kPeerLost;
    event.peer = peer_;
  }
  return count;
}

void Endpoint::check_loss() {
  const Connection* ended = nullptr;
  bool more = false;  // frames that came before the end are still to be reported
  for (const Connection& connection : connections_) {
    if (connection.violated()) {
      ended = &connection;
      more = false;
      break;
    }
    if (connection.ended() && ended == nullptr) ended = &connection;
    if (connection.readable() || connection.has_buffered()) more = true;
    if (connection.has_frame() && connection.frame().sequence == next_reported_) more = true;
  }
  if (ended == nullptr || more) return;
  lost_ = true;
  error_ = cat("lost rank ", peer_, ": ", ended->error());
  for (Connection& connection : connections_) connection.close();
}

}  // namespace hfr::tcp
