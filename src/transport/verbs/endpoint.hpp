// Endpoint: the datapath to one peer, over one or several connections, and their mending.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ports/transport.hpp"
#include "transport/routes.hpp"
#include "transport/verbs/control.hpp"
#include "transport/verbs/pairs.hpp"
#include "transport/verbs/shared.hpp"

namespace hfr::verbs {

// One connection with what set-up found out about its ways.
struct LinkSetUp {
  std::unique_ptr<Connection> connection;
  std::vector<RailPair> pairs;  // epoch e uses pairs[e mod size]
};

// What both sides agreed on.
struct Agreement {
  std::vector<RailCard> their_rails;
  uint16_t mtu = 0;  // most; 0: what ports allow
  uint8_t service_level = 0;
  uint8_t traffic_class = 0;
  uint8_t timeout = 0;
  uint8_t retry_count = 0;

  Path path(const RailPair& pair, std::span<const std::unique_ptr<Rail>> rails) const;
  // Until a device that gets no acknowledgement should have given up.
  uint64_t give_up_ns() const;
};

class Endpoint {
 public:
  static constexpr uint32_t kQueueDepth = 64;  // puts of a connection that wait for its ring

  // `shared` outlives the endpoint. The connections are live.
  Endpoint(int peer, Shared& shared, Control control, Agreement agreement,
           std::vector<LinkSetUp> links);

  bool put(const void* src, size_t bytes, const PutTag& tag, Token token);
  // A turn would find nothing to do.
  bool quiet() const {
    if (lost_) return loss_reported_;
    for (const Link& link : links_) {
      if (link.first != link.end || !link.connection->quiet() || has_letter(link)) return false;
    }
    return true;
  }
  // A turn: first what is done and what arrived, then all else: letters, queued puts, the peer's
  // end.
  size_t take(std::span<TransportEvent> events);
  size_t move_on(std::span<TransportEvent> events);

  int peer() const { return peer_; }
  int control_fd() const { return control_.fd(); }
  bool lost() const { return lost_; }
  const std::string& error() const { return error_; }
  // Something to report or to post.
  bool has_work() const;
  bool awaits_completion() const;

  // ---- rare events; these make system calls ----

  // Looks for connections that have fallen silent.
  void watch(uint64_t now_ns);
  // Some connection is not live.
  bool needs_mending() const;
  // Looks at the control connection and moves mending on.
  void attend(uint64_t now_ns);
  void hear(size_t rail_idx, const Rail::News& news);
  // Everything that was reported done is acknowledged, or cannot be any more.
  bool settle();
  // Nothing is read or written for this peer afterwards.
  void close();

 private:
  struct QueuedPut {
    PutTag tag;
    const std::byte* src = nullptr;
    uint64_t bytes = 0;
    Token token = 0;
    uint32_t order = 0;
    std::array<std::byte, kMaxSmallBytes> small;
  };
  struct Link {
    std::unique_ptr<Connection> connection;
    std::vector<RailPair> pairs;
    std::vector<QueuedPut> queue;  // a ring of kQueueDepth
    uint32_t first = 0;
    uint32_t end = 0;
    bool asked = false;     // where the first one's landing is
    uint64_t num_asks = 0;  // of ours
    uint64_t answered = 0;  // count of the peer's last ask that we answered
    // Mending.
    bool waiting = false;  // our card went out for the connection's epoch
    std::optional<LinkCard> theirs;
    std::optional<uint32_t> they_joined;  // the last epoch for which the peer said so
    uint64_t broken_since_ns = 0;         // 0: whole, and proven to be
    uint64_t next_try_ns = 0;
    uint64_t looked_ns = 0;  // by mend(), while it is not whole
    std::string why;

    bool queue_full() const { return end - first == kQueueDepth; }
    QueuedPut& head() { return queue[first % kQueueDepth]; }
  };

  // The peer asks, and has no answer yet.
  bool has_letter(const Link& link) const { return link.connection->num_asks() != link.answered; }
  void flush(Link& link);
  bool send_head(Link& link);
  const HomeCard* home(uint32_t landing, uint64_t bytes) const;
  void ask(Link& link);
  void take_letters(Link& link);
  void answer(Link& link, const Ask& ask);
  void take_messages(std::span<TransportEvent> events, size_t& count);
  // False when the message has to wait.
  bool take_message(Link& link, std::span<TransportEvent> events, size_t& count);
  // Null, and the peer is lost, when it broke the protocol.
  const Homes::Place* check_landing(uint32_t landing, uint64_t bytes);
  bool land(Link& link, const Header& header);

  void mend(Link& link, uint64_t now_ns);
  // Makes a new queue pair for an epoch from `epoch` on whose rail of ours is up, and tells the
  // peer.
  void begin(Link& link, uint32_t epoch, uint64_t now_ns);
  void join(Link& link);
  void start(Link& link);
  std::string way_text(const Link& link) const;
  void lose(std::string why);

  const int peer_;
  Shared& shared_;
  Control control_;
  const Agreement agreement_;
  const uint64_t most_silence_ns_;  // docs/transports.md
  std::vector<Link> links_;
  LandingRoutes routes_;
  std::vector<std::optional<HomeCard>> homes_;  // the peer's, by landing, as it told
  uint32_t next_order_out_ = 0;
  uint32_t next_order_in_ = 0;
  bool lost_ = false;
  bool loss_reported_ = false;
  std::string error_;
};

}  // namespace hfr::verbs
