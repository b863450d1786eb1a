#include "sim/sim_transport.hpp"

#include <algorithm>
#include <cstring>

#include "base/text.hpp"

namespace hfr::sim {

// The way from one rank to another.
class SimTransport::Connection : public Actor {
 public:
  Connection(SimTransport& owner, SimTransport& peer)
      : owner_(owner),
        peer_(peer),
        latency_(owner.parts_.machine.put_latency(owner.place_.node, peer.place_.node)) {}

  int peer() const { return peer_.place_.rank; }

  bool put(const void* src, size_t bytes, const PutTag& tag, Token token) {
    if (sending_.size() + arriving_.size() + acknowledging_.size() == kDepth) return false;
    sending_.push_back({src, bytes, tag, token, 0});
    if (sending_.size() == 1) begin();
    return true;
  }

  // The peer hears, after all that came before, that this side has ended.
  void close() { in(latency_, What::kClosed); }

  void on_event(uint64_t what) override {
    switch (static_cast<What>(what)) {
      case What::kFlow:
        return flow();
      case What::kSent:
        return sent();
      case What::kArrived:
        return arrived();
      case What::kAcknowledged:
        return acknowledged();
      case What::kRestored:
        return restored();
      case What::kGiveUp:
        if (held_ && loop().now() >= held_since_ + owner_.parts_.gives_up_after)
          owner_.lose(peer());
        return;
      case What::kClosed:
        if (!link_up()) return owner_.parts_.links.await(*this, what);
        return peer_.lose(owner_.place_.rank);
      case What::kRefused:
        return owner_.lose(peer());
    }
  }

 private:
  static constexpr size_t kDepth = 64;
  enum class What : uint64_t {
    kFlow,
    kSent,
    kArrived,
    kAcknowledged,
    kRestored,
    kGiveUp,
    kClosed,
    kRefused
  };
  struct Put {
    const void* src;
    size_t bytes;
    PutTag tag;
    Token token;
    SimTime began;
  };

  EventLoop& loop() { return owner_.parts_.loop; }
  void in(SimTime delay, What what) { loop().in(delay, *this, static_cast<uint64_t>(what)); }
  bool link_up() const { return owner_.parts_.links.up(owner_.place_.node, peer_.place_.node); }

  void begin() {
    const SimTime now = loop().now();
    const SimTime begin = std::max(now, owner_.parts_.wakes.busy_until(owner_.place_.rank));
    sending_.front().began = begin;
    in(begin - now + from_us(owner_.parts_.machine.cluster().fabric.put_overhead_us), What::kFlow);
  }

  void flow() {
    if (owner_.stopped_) return;
    if (!link_up() || peer_.stopped_) return hold();
    const Place& from = owner_.place_;
    const Place& to = peer_.place_;
    const Path path = owner_.parts_.machine.put(from.node, from.local_rank, to.node, to.local_rank);
    loop().flow(path.uses(), sending_.front().bytes, *this, static_cast<uint64_t>(What::kSent));
  }

  void sent() {
    if (owner_.stopped_) return;
    if (!link_up() || peer_.stopped_) return hold();
    const Put put = sending_.front();
    if (owner_.parts_.log != nullptr) {
      owner_.parts_.log->record({SpanKind::kPut, owner_.place_.rank,
                                 static_cast<int>(put.tag.chunk), peer(), put.bytes, put.began,
                                 loop().now()});
    }
    // Nobody looks before it has arrived, and over a socket the source may change from now on.
    peer_.take(put.src, put.bytes, put.tag);
    arriving_.push_back(put);
    sending_.pop_front();
    in(latency_, What::kArrived);
    if (owner_.parts_.machine.on_host()) {
      acknowledging_.push_back(put.token);
      acknowledged();
    }
    if (!sending_.empty()) begin();
  }

  // Nothing gets through. The first put, if there is one, starts again when it would.
  void hold() {
    if (held_) return;
    held_ = true;
    held_since_ = loop().now();
    if (!link_up()) {
      owner_.parts_.links.await(*this, static_cast<uint64_t>(What::kRestored));
    } else if (peer_.closed_) {
      in(latency_, What::kRefused);
    }
    if (owner_.parts_.gives_up_after != kNever) in(owner_.parts_.gives_up_after, What::kGiveUp);
  }

  void restored() {
    if (!link_up()) return owner_.parts_.links.await(*this, static_cast<uint64_t>(What::kRestored));
    held_ = false;
    if (!sending_.empty()) flow();
  }

  void arrived() {
    const Put put = arriving_.front();
    arriving_.pop_front();
    if (peer_.stopped_) return hold();
    peer_.arrive(owner_.place_.rank, put.bytes, put.tag);
    if (owner_.parts_.machine.on_host()) return;
    acknowledging_.push_back(put.token);
    in(latency_, What::kAcknowledged);
  }

  void acknowledged() {
    TransportEvent event;
    event.kind = TransportEvent::Kind::kPutDone;
    event.peer = peer();
    event.token = acknowledging_.front();
    acknowledging_.pop_front();
    owner_.report(event);
  }

  SimTransport& owner_;
  SimTransport& peer_;
  const SimTime latency_;
  std::deque<Put> sending_;  // the first one is under way
  std::deque<Put> arriving_;
  std::deque<Token> acknowledging_;
  bool held_ = false;
  SimTime held_since_ = 0;
};

SimTransport::SimTransport(const Parts& parts, const Place& place) : parts_(parts), place_(place) {}
SimTransport::~SimTransport() = default;

Status SimTransport::connect(std::span<const int>, std::span<const std::vector<std::byte>>,
                             uint64_t) {
  return Status();
}

void SimTransport::set_landing(uint32_t number, void* memory, size_t) {
  if (number >= landings_.size()) landings_.resize(size_t{number} + 1);
  landings_[number] = static_cast<std::byte*>(memory);
}

SimTransport::Connection& SimTransport::connection(int peer) {
  for (auto& known : connections_) {
    if (known->peer() == peer) return *known;
  }
  SimTransport& other = *parts_.directory[static_cast<size_t>(peer)];
  connections_.push_back(std::make_unique<Connection>(*this, other));
  other.known_by_.push_back(place_.rank);
  return *connections_.back();
}

bool SimTransport::put(int peer, const void* src, size_t bytes, const PutTag& tag, Token token) {
  return !stopped_ && connection(peer).put(src, bytes, tag, token);
}

void SimTransport::report(const TransportEvent& event) {
  if (stopped_) return;
  events_.push_back(event);
  parts_.wakes.wake(place_.rank);
}

void SimTransport::take(const void* src, size_t bytes, const PutTag& tag) {
  if (stopped_ || !parts_.moves_bytes || bytes == 0) return;
  std::memcpy(landings_[tag.landing], src, bytes);
}

void SimTransport::arrive(int from, size_t bytes, const PutTag& tag) {
  TransportEvent event;
  event.kind = TransportEvent::Kind::kArrival;
  event.peer = from;
  event.tag = tag;
  event.bytes = bytes;
  report(event);
}

size_t SimTransport::poll(std::span<TransportEvent> events) {
  const size_t count = std::min(events.size(), events_.size());
  for (size_t i = 0; i < count; ++i) {
    events[i] = events_.front();
    events_.pop_front();
  }
  return count;
}

void SimTransport::lose(int peer) {
  if (std::find(lost_.begin(), lost_.end(), peer) != lost_.end()) return;
  lost_.push_back(peer);
  TransportEvent event;
  event.kind = TransportEvent::Kind::kPeerLost;
  event.peer = peer;
  report(event);
  if (!stopped_) parts_.wakes.peer_lost(place_.rank);
}

void SimTransport::stop() {
  vanish();
  if (!parts_.machine.on_host()) close();
}

void SimTransport::close() {
  vanish();
  if (std::exchange(closed_, true)) return;
  for (int peer : known_by_) connection(peer);
  for (const auto& known : connections_) known->close();
}

void SimTransport::vanish() {
  stopped_ = true;
  events_.clear();
}

std::string SimTransport::peer_error(int peer) const {
  return cat("lost rank ", peer, ": its connection ended, or nothing was acknowledged");
}

}  // namespace hfr::sim
