#include "transport/verbs/endpoint.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/text.hpp"
#include "transport/verbs/silence.hpp"

namespace hfr::verbs {
namespace {

Header header(const PutTag& tag, uint64_t bytes, uint32_t order) {
  Header header;
  header.landing = tag.landing;
  header.order = order;
  header.bytes = bytes;
  header.chunk = tag.chunk;
  header.signature = tag.signature;
  header.checksum = tag.checksum;
  return header;
}

}  // namespace

Endpoint::Endpoint(int peer, Shared& shared, Control control, Agreement agreement,
                   std::vector<LinkSetUp> links)
    : peer_(peer),
      shared_(shared),
      control_(std::move(control)),
      agreement_(std::move(agreement)),
      most_silence_ns_(most_silence_ns(agreement_.give_up_ns(), shared.mend_ns)) {
  for (LinkSetUp& from : links) {
    Link& link = links_.emplace_back();
    link.connection = std::move(from.connection);
    link.pairs = std::move(from.pairs);
    link.queue.resize(kQueueDepth);
  }
}

bool Endpoint::put(const void* src, size_t bytes, const PutTag& tag, Token token) {
  if (lost_) return false;
  Link& link = links_[routes_.of(tag.landing, links_.size())];
  if (bytes <= kMaxSmallBytes && link.first == link.end && link.connection->can_send(bytes)) {
    link.connection->send_small(header(tag, bytes, next_order_out_++), src, token);
    return true;
  }
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
  while (link.first != link.end && send_head(link)) {
    ++link.first;
    link.asked = false;
  }
}

bool Endpoint::send_head(Link& link) {
  QueuedPut& entry = link.head();
  Connection& connection = *link.connection;
  if (!connection.can_send(entry.bytes)) return false;
  Header header = verbs::header(entry.tag, entry.bytes, entry.order);
  if (entry.bytes <= kMaxSmallBytes) {
    connection.send_small(header, entry.small.data(), entry.token);
    return true;
  }
  const HomeCard* home = this->home(entry.tag.landing, entry.bytes);
  if (home == nullptr) {
    if (!link.asked) ask(link);
    return false;
  }
  Connection::Payload payload{entry.src, shared_.region_of(entry.src, entry.bytes), *home};
  if (payload.region == nullptr) {
    auto bounce = shared_.bounces.take(entry.bytes, shared_.rails);
    if (!bounce.ok()) {
      lose(cat("lost rank ", peer_, ": ", bounce.status().message()));
      return false;
    }
    payload.bounce = *bounce;
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

void Endpoint::ask(Link& link) {
  Ask ask;
  ask.landing = link.head().tag.landing;
  ask.bytes = link.head().bytes;
  ask.count = link.num_asks + 1;
  if (!link.connection->send(ask)) return;
  ++link.num_asks;
  link.asked = true;
}

void Endpoint::take_letters(Link& link) {
  if (has_letter(link)) answer(link, link.connection->ask());
  if (lost_ || !link.asked) return;
  const Tell tell = link.connection->tell();
  if (tell.count != link.num_asks) return;
  const uint32_t landing = link.head().tag.landing;
  if (landing >= homes_.size()) homes_.resize(size_t{landing} + 1);
  homes_[landing] = tell.home;
  link.asked = false;
}

void Endpoint::answer(Link& link, const Ask& ask) {
  if (check_landing(ask.landing, ask.bytes) == nullptr) return;
  auto home = shared_.homes.home(ask.landing, ask.bytes, shared_.rails);
  if (!home.ok()) return lose(cat("lost rank ", peer_, ": ", home.status().message()));
  Tell tell;
  tell.home = *home;
  tell.count = ask.count;
  if (link.connection->send(tell)) link.answered = ask.count;
}

bool Endpoint::awaits_completion() const {
  return !lost_ && std::any_of(links_.begin(), links_.end(), [](const Link& link) {
    return link.connection->awaits_completion();
  });
}

bool Endpoint::has_work() const {
  if (lost_) return !loss_reported_;
  if (control_.ended()) return true;
  for (const Link& link : links_) {
    const Connection& connection = *link.connection;
    if (connection.has_done() || connection.has_message() || has_letter(link)) return true;
    if (link.first != link.end && !link.asked && connection.can_send(0)) return true;
  }
  return false;
}

size_t Endpoint::take(std::span<TransportEvent> events) {
  size_t count = 0;
  if (lost_) return count;
  for (Link& link : links_) {
    while (link.connection->has_done() && count < events.size()) {
      const Token token = link.connection->take_done(shared_.bounces);
      TransportEvent& event = events[count++];
      event.kind = TransportEvent::Kind::kPutDone;
      event.peer = peer_;
      event.token = token;
    }
  }
  take_messages(events, count);
  return count;
}

size_t Endpoint::move_on(std::span<TransportEvent> events) {
  size_t count = 0;
  if (!lost_) {
    for (Link& link : links_) {
      if (!lost_) take_letters(link);
      if (!lost_) flush(link);
    }
    if (!lost_ && control_.ended()) {
      // What came before the end is reported first.
      count = take(events);
      const bool more = std::any_of(links_.begin(), links_.end(), [](const Link& link) {
        return link.connection->has_message();
      });
      if (!more || count < events.size()) lose(cat("lost rank ", peer_, ": ", control_.why()));
    }
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
  if (header.order != next_order_in_ || count == events.size()) return false;
  if (!land(link, header)) return false;
  link.connection->consume();
  ++next_order_in_;
  TransportEvent& event = events[count++];
  event.kind = TransportEvent::Kind::kArrival;
  event.peer = peer_;
  event.tag = {header.landing, header.chunk, header.signature, header.checksum};
  event.bytes = header.bytes;
  return true;
}

const Homes::Place* Endpoint::check_landing(uint32_t landing, uint64_t bytes) {
  const Homes::Place* place = shared_.homes.find(landing);
  if (place != nullptr && bytes <= place->bytes) return place;
  const std::string what =
      cat("lost rank ", peer_, ": it sent ", bytes, " bytes to landing ", landing, ", which ");
  lose(place == nullptr ? cat(what, "does not exist here") : cat(what, "holds ", place->bytes));
  return nullptr;
}

bool Endpoint::land(Link& link, const Header& header) {
  const Homes::Place* const found = check_landing(header.landing, header.bytes);
  if (found == nullptr) return false;
  const Homes::Place& place = *found;
  if (header.kind == MessageKind::kSmall && header.bytes <= kMaxSmallBytes) {
    if (header.bytes > 0)
      std::memcpy(place.memory, link.connection->payload(header.bytes), header.bytes);
    return true;
  }
  if (header.kind != MessageKind::kLarge || header.home_idx >= place.homes.size()) {
    lose(cat("lost rank ", peer_, ": it sent a message that makes no sense"));
    return false;
  }
  const Homes::Home& at = place.homes[header.home_idx];
  if (header.bytes > at.bytes) {
    lose(cat("lost rank ", peer_, ": it sent a message that makes no sense"));
    return false;
  }
  const std::byte* home = at.memory;
  if (home != place.memory) std::memcpy(place.memory, home, header.bytes);
  return true;
}

bool Endpoint::settle() {
  if (lost_ || control_.ended()) return true;
  bool settled = true;
  for (Link& link : links_) {
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
