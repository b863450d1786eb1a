#include "transport/verbs/endpoint.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/text.hpp"

namespace hfr::verbs {
namespace {

constexpr uint8_t kUnrouted = 0xff;

}  // namespace

Endpoint::Endpoint(int peer, Shared& shared, Control control, Agreement agreement,
                   std::vector<LinkSetUp> links)
    : peer_(peer), shared_(shared), control_(std::move(control)), agreement_(std::move(agreement)) {
  for (LinkSetUp& from : links) {
    Link& link = links_.emplace_back();
    link.connection = std::move(from.connection);
    link.pairs = std::move(from.pairs);
    link.queue.resize(kQueueDepth);
  }
  routes_.fill(kUnrouted);
}

Endpoint::Link& Endpoint::route(uint32_t landing) {
  if (links_.size() == 1) return links_.front();
  uint8_t& entry = routes_[landing % routes_.size()];
  if (entry == kUnrouted) {
    entry = next_route_;
    next_route_ = static_cast<uint8_t>((next_route_ + 1) % links_.size());
  }
  return links_[entry];
}

bool Endpoint::put(const void* src, size_t bytes, const PutTag& tag, Token token) {
  if (lost_) return false;
  Link& link = route(tag.landing);
  if (link.queue_full()) return false;
  QueuedPut& entry = link.queue[link.end++ % kQueueDepth];
  entry.tag = tag;
  entry.src = static_cast<const std::byte*>(src);
  entry.bytes = bytes;
  entry.token = token;
  entry.order = next_order_out_++;
  if (bytes > 0 && bytes <= kMaxSmallBytes) std::memcpy(entry.small.data(), src, bytes);
  flush(link);
  return true;
}

void Endpoint::flush(Link& link) {
  link.connection->flush();
  answer(link);
  while (link.first != link.end && send_head(link)) {
    ++link.first;
    link.asked = false;
  }
}

bool Endpoint::send_head(Link& link) {
  QueuedPut& entry = link.head();
  Connection& connection = *link.connection;
  if (!connection.can_send(entry.bytes)) return false;
  Header header;
  header.landing = entry.tag.landing;
  header.order = entry.order;
  header.bytes = entry.bytes;
  header.chunk = entry.tag.chunk;
  header.signature = entry.tag.signature;
  if (entry.bytes <= kMaxSmallBytes) {
    connection.send_small(header, entry.small.data(), entry.bytes, entry.token);
    return true;
  }
  const HomeCard* home = this->home(entry.tag.landing, entry.bytes);
  if (home == nullptr) {
    if (link.asked) return false;
    link.asked = true;
    header.kind = MessageKind::kAsk;
    connection.send_small(header, nullptr, 0, std::nullopt);
    return false;
  }
  Connection::Payload payload{entry.src, shared_.region_of(entry.src, entry.bytes), *home};
  if (payload.region == nullptr) {
    payload.bounce = shared_.bounces.take(entry.bytes, shared_.rails);
    if (payload.bounce == Bounces::kNone) return false;
    payload.region = &shared_.bounces.region(payload.bounce);
    std::memcpy(payload.region->data(), entry.src, entry.bytes);
    payload.src = payload.region->data();
  }
  header.kind = MessageKind::kLarge;
  header.home_idx = static_cast<uint16_t>(home->idx);
  connection.send_large(header, payload, entry.token);
  return true;
}

const HomeCard* Endpoint::home(uint32_t landing, uint64_t bytes) const {
  if (landing >= homes_.size() || !homes_[landing] || homes_[landing]->bytes < bytes)
    return nullptr;
  return &*homes_[landing];
}

void Endpoint::answer(Link& link) {
  if (!link.to_tell || !link.connection->can_send(sizeof(HomeCard))) return;
  auto card = shared_.homes.home(link.to_tell->landing, link.to_tell->bytes, shared_.rails);
  if (!card.ok()) return lose(cat("lost rank ", peer_, ": ", card.status().message()));
  Header header;
  header.landing = link.to_tell->landing;
  header.kind = MessageKind::kTell;
  link.connection->send_small(header, &*card, sizeof(HomeCard), std::nullopt);
  link.to_tell.reset();
}

bool Endpoint::has_work() const {
  if (lost_) return !loss_reported_;
  if (control_.ended()) return true;
  for (const Link& link : links_) {
    const Connection& connection = *link.connection;
    if (connection.has_done() || connection.has_message()) return true;
    if (link.first != link.end && !link.asked && connection.can_send(0)) return true;
  }
  return false;
}

size_t Endpoint::poll(std::span<TransportEvent> events) {
  size_t count = 0;
  if (!lost_) {
    for (Link& link : links_) {
      while (link.connection->has_done() && count < events.size()) {
        const Connection::Done done = link.connection->take_done(shared_.bounces);
        if (!done.is_put) continue;
        TransportEvent& event = events[count++];
        event.kind = TransportEvent::Kind::kPutDone;
        event.peer = peer_;
        event.token = done.token;
      }
    }
    take_messages(events, count);
    for (Link& link : links_) {
      if (!lost_) flush(link);
    }
    // What came before the end is reported first.
    const bool more = std::any_of(links_.begin(), links_.end(),
                                  [](const Link& link) { return link.connection->has_message(); });
    if (!lost_ && control_.ended() && (!more || count < events.size()))
      lose(cat("lost rank ", peer_, ": ", control_.why()));
  }
  if (lost_ && !loss_reported_ && count < events.size()) {
    loss_reported_ = true;
    TransportEvent& event = events[count++];
    event.kind = TransportEvent::Kind::kPeerLost;
    event.peer = peer_;
  }
  return count;
}

void Endpoint::take_messages(std::span<TransportEvent> events, size_t& count) {
  // A connection that runs ahead keeps its message until the others have caught up.
  for (bool moved = true; moved;) {
    moved = false;
    for (Link& link : links_) {
      while (!lost_ && link.connection->has_message() && take_message(link, events, count))
        moved = links_.size() > 1;
    }
  }
}

bool Endpoint::take_message(Link& link, std::span<TransportEvent> events, size_t& count) {
  const Header header = link.connection->header();
  switch (header.kind) {
    case MessageKind::kAsk:
      take_ask(link, header);
      break;
    case MessageKind::kTell:
      take_tell(link, header);
      break;
    case MessageKind::kSmall:
    case MessageKind::kLarge: {
      if (header.order != next_order_in_ || count == events.size()) return false;
      if (!land(link, header)) return false;
      ++next_order_in_;
      TransportEvent& event = events[count++];
      event.kind = TransportEvent::Kind::kArrival;
      event.peer = peer_;
      event.tag = {header.landing, header.chunk, header.signature};
      event.bytes = header.bytes;
      break;
    }
    default:
      lose(cat("lost rank ", peer_, ": it sent a message of no known kind"));
      return false;
  }
  if (lost_) return false;
  link.connection->consume();
  return true;
}

bool Endpoint::land(Link& link, const Header& header) {
  const Homes::Place* place = shared_.homes.find(header.landing);
  const auto where = [&] {
    return cat("lost rank ", peer_, ": it sent ", header.bytes, " bytes to landing ",
               header.landing, ", which ");
  };
  if (place == nullptr) {
    lose(where() + "does not exist here");
    return false;
  }
  if (header.bytes > place->bytes) {
    lose(cat(where(), "holds ", place->bytes));
    return false;
  }
  if (header.kind == MessageKind::kSmall) {
    if (header.bytes > kMaxSmallBytes) {
      lose(where() + "is more than a ring's slot holds");
      return false;
    }
    if (header.bytes > 0)
      std::memcpy(place->memory, link.connection->payload(header.bytes), header.bytes);
    return true;
  }
  if (header.home_idx >= place->homes.size()) {
    lose(where() + "it was not told to write for");
    return false;
  }
  const std::byte* home = place->homes[header.home_idx].memory;
  if (home != place->memory) std::memcpy(place->memory, home, header.bytes);
  return true;
}

void Endpoint::take_ask(Link& link, const Header& header) {
  const Homes::Place* place = shared_.homes.find(header.landing);
  if (place == nullptr) {
    return lose(cat("lost rank ", peer_, ": it sent ", header.bytes, " bytes to landing ",
                    header.landing, ", which does not exist here"));
  }
  if (header.bytes > place->bytes) {
    return lose(cat("lost rank ", peer_, ": it sent ", header.bytes, " bytes to landing ",
                    header.landing, ", which holds ", place->bytes));
  }
  link.to_tell = header;
}

void Endpoint::take_tell(Link& link, const Header& header) {
  // Only for the landing that was asked for.
  if (!link.asked || link.first == link.end || header.landing != link.head().tag.landing)
    return lose(cat("lost rank ", peer_, ": it answered what nobody asked"));
  if (header.landing >= homes_.size()) homes_.resize(size_t{header.landing} + 1);
  HomeCard card;
  std::memcpy(&card, link.connection->payload(sizeof(card)), sizeof(card));
  homes_[header.landing] = card;
  link.asked = false;
}

bool Endpoint::settle() {
  if (lost_ || control_.ended()) return true;
  bool settled = true;
  for (Link& link : links_) {
    if (!link.connection->live() || link.connection->broken()) continue;
    if (link.connection->settled()) continue;
    settled = false;
    link.connection->settle();
  }
  return settled;
}

void Endpoint::close() {
  for (Link& link : links_) link.connection->close(shared_.table);
  control_.close();
}

void Endpoint::lose(std::string why) {
  if (lost_) return;
  lost_ = true;
  error_ = std::move(why);
  close();
}

}  // namespace hfr::verbs
