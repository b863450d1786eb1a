// Endpoint's mending: from a broken connection to a live one, or to a lost peer. The rules, and why
// nothing arrives twice, are in docs/transports.md.
#include <algorithm>

#include "base/text.hpp"
#include "transport/verbs/endpoint.hpp"
#include "transport/verbs/silence.hpp"

namespace hfr::verbs {
namespace {

constexpr uint64_t kRetryNs = 50'000'000;

}  // namespace

Path Agreement::path(const RailPair& pair, std::span<const std::unique_ptr<Rail>> rails) const {
  const RailCard& mine = rails[pair.mine]->card();
  const RailCard& theirs = their_rails[pair.theirs];
  Path path;
  path.my_rail = pair.mine;
  path.their_rail = pair.theirs;
  path.gids = pair.gids;
  path.mtu = std::min(mine.mtu, theirs.mtu);
  if (mtu != 0) path.mtu = std::min(path.mtu, mtu);
  path.service_level = service_level;
  path.traffic_class = traffic_class;
  path.timeout = timeout;
  path.retry_count = retry_count;
  return path;
}

uint64_t Agreement::give_up_ns() const {
  return (uint64_t{4096} << timeout) * (uint64_t{retry_count} + 1);
}

void Endpoint::watch(uint64_t now_ns) {
  if (lost_) return;
  for (Link& link : links_) link.connection->watch(now_ns, most_silence_ns_);
}

bool Endpoint::needs_mending() const {
  return !lost_ && std::any_of(links_.begin(), links_.end(), [](const Link& link) {
    const bool called = link.theirs && link.theirs->epoch > link.connection->epoch();
    return link.connection->broken() || !link.connection->live() || called;
  });
}

void Endpoint::attend(uint64_t now_ns) {
  if (lost_) return;
  while (auto card = control_.receive()) {
    if (card->connection_idx >= links_.size()) {
      return lose(cat("lost rank ", peer_, ": it speaks of connection ", card->connection_idx,
                      ", which does not exist"));
    }
    Link& link = links_[card->connection_idx];
    switch (card->word) {
      case LinkWord::kOpened:
        if (card->epoch > link.connection->epoch() ||
            (link.waiting && card->epoch == link.connection->epoch())) {
          link.theirs = *card;
        }
        break;
      case LinkWord::kJoined:
        link.they_joined = card->epoch;
        break;
      default:
        return lose(cat("lost rank ", peer_, ": ", way_text(link), " broke",
                        link.why.empty() ? "" : ": ", link.why, ", and rank ", peer_,
                        " could not mend it"));
    }
  }
  // The peer is gone: poll takes what it left, and reports that.
  if (control_.ended()) return;
  for (Link& link : links_) {
    if (!lost_) mend(link, now_ns);
  }
}

void Endpoint::hear(size_t rail_idx, const Rail::News& news) {
  for (Link& link : links_) {
    Connection& connection = *link.connection;
    if (connection.closed() || connection.rail_idx() != rail_idx) continue;
    if (!news.all_broke.empty()) connection.set_broken(news.all_broke);
    for (const auto& [pair, why] : news.broke) {
      if (pair == connection.queue_pair()) connection.set_broken(why);
    }
  }
}

void Endpoint::mend(Link& link, uint64_t now_ns) {
  Connection& connection = *link.connection;
  // While it is being mended the proof is of what the other side, which has started, sends already.
  if (link.looked_ns == 0 && connection.proven()) link.broken_since_ns = 0;
  // Time in which nobody drove this side does not count.
  const bool paused = link.looked_ns != 0 && now_ns - link.looked_ns > kPauseNs;
  if (paused && link.broken_since_ns != 0) link.broken_since_ns += now_ns - link.looked_ns;
  link.looked_ns = connection.live() && !connection.broken() ? 0 : now_ns;
  const bool called = link.theirs && link.theirs->epoch > connection.epoch();
  if (connection.live() && !connection.broken() && !called) return;
  if (link.broken_since_ns == 0) {
    link.broken_since_ns = now_ns;
    shared_.links.broken.add(1);
    shared_.logger.log(LogLevel::kWarn, way_text(link), " broke: ",
                       connection.broken() ? connection.why() : "the other side says so",
                       "; mending it");
    link.why = connection.why();
  }
  if (now_ns - link.broken_since_ns > shared_.mend_ns) {
    LinkCard last;
    last.connection_idx = static_cast<uint32_t>(&link - links_.data());
    last.word = LinkWord::kGivenUp;
    (void)control_.send(last);  // a peer that cannot be told sees the end
    return lose(cat("lost rank ", peer_, ": ", way_text(link), " broke",
                    link.why.empty() ? "" : ": ", link.why, ", and could not be mended within ",
                    shared_.mend_ns / 1'000'000, " ms"));
  }
  if (called || connection.broken() || !(link.waiting || connection.joined())) {
    if (now_ns < link.next_try_ns) return;
    begin(link, called ? link.theirs->epoch : connection.epoch() + 1, now_ns);
  }
  if (link.waiting && link.theirs && link.theirs->epoch == connection.epoch()) join(link);
  if (connection.joined() && !connection.broken() && link.they_joined == connection.epoch())
    start(link);
}

void Endpoint::begin(Link& link, uint32_t epoch, uint64_t now_ns) {
  Connection& connection = *link.connection;
  link.waiting = false;
  link.next_try_ns = now_ns + kRetryNs;
  if (connection.broken()) link.why = connection.why();  // the last attempt's reason
  connection.close(shared_.table);
  for (size_t turn = 0; turn < link.pairs.size(); ++turn, ++epoch) {
    const size_t rail_idx = link.pairs[epoch % link.pairs.size()].mine;
    Status status = shared_.rails[rail_idx]->look_at_port();
    if (!status.ok()) {
      link.why = status.message();
      continue;
    }
    status = connection.open(rail_idx, epoch);
    if (status.ok()) status = control_.send(connection.card());
    if (status.ok()) {
      link.waiting = true;
    } else {
      link.why = status.message();
      connection.close(shared_.table);
    }
    return;
  }
}

void Endpoint::join(Link& link) {
  Connection& connection = *link.connection;
  const RailPair& pair = link.pairs[connection.epoch() % link.pairs.size()];
  Status status = connection.join(*link.theirs, agreement_.path(pair, shared_.rails));
  link.theirs.reset();
  link.waiting = false;
  if (status.ok()) {
    LinkCard card = connection.card();
    card.word = LinkWord::kJoined;
    status = control_.send(card);
  }
  if (!status.ok()) connection.set_broken(status.message());
}

void Endpoint::start(Link& link) {
  Connection& connection = *link.connection;
  link.asked = false;  // the letter may be lost
  link.looked_ns = 0;
  connection.start();
  shared_.links.mended.add(1);
  shared_.logger.log(LogLevel::kWarn, way_text(link), " is made anew, epoch ", connection.epoch());
}

std::string Endpoint::way_text(const Link& link) const {
  const RailPair& pair = link.pairs[link.connection->epoch() % link.pairs.size()];
  const RailCard& theirs = agreement_.their_rails[pair.theirs];
  return cat("the verbs connection from ", shared_.rails[pair.mine]->info().text(), " to rank ",
             peer_, "'s ", theirs.device.data(), " port ", theirs.port);
}

}  // namespace hfr::verbs
