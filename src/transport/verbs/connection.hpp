// Connection: a queue pair and the two rings that go with it (docs/transports.md). Knows messages
// and their numbers, nothing of what they mean.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "ports/completion.hpp"
#include "transport/verbs/memory.hpp"
#include "transport/verbs/ring.hpp"
#include "transport/verbs/silence.hpp"

namespace hfr::verbs {

// How to reach the other end: agreed by both sides.
struct Path {
  size_t my_rail = 0;
  size_t their_rail = 0;
  GidPair gids;
  uint16_t mtu = 0;  // bytes
  uint8_t service_level = 0;
  uint8_t traffic_class = 0;
  uint8_t timeout = 0;
  uint8_t retry_count = 0;
};

class Connection {
 public:
  static constexpr size_t kReceives = kRingSlots;
  static constexpr uint64_t kTellEvery = kRingSlots / 4;  // messages consumed
  // A queue pair that breaks completes every request, also those that did not ask for it.
  static constexpr size_t kMostCompletions = kReceives + SendQueue::kDepth;

  // A put's payload on its way from `src` in `region`.
  struct Payload {
    const std::byte* src = nullptr;
    const Region* region = nullptr;
    HomeCard home;
    int bounce = Bounces::kNone;
  };

  // `rails` and `alarm`, which it raises when it breaks, outlive the connection. `idx` is its place
  // in the table of poll_completions.
  static Result<std::unique_ptr<Connection>> make(std::span<const std::unique_ptr<Rail>> rails,
                                                  bool& alarm, uint16_t idx,
                                                  uint32_t connection_idx);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // ---- making and mending; these make system calls ----

  // A new queue pair on `rail_idx`, not joined yet.
  Status open(size_t rail_idx, uint32_t epoch);
  // Destroys the queue pair: nothing is read or written for it afterwards. Completions that were
  // under way have been taken, so that the card says all that came in. `table`: all connections.
  void close(std::span<Connection* const> table);
  LinkCard card();
  // From open to joined: what the other end sends can come in, nothing is sent yet.
  Status join(const LinkCard& theirs, const Path& path);
  // From joined to live, once the other end has joined, too: before, what is sent would be lost,
  // and sent again only after a timeout. What the other end has not received is posted again.
  void start();
  uint32_t epoch() const { return epoch_; }
  size_t rail_idx() const { return rail_idx_; }
  // Null while it is closed.
  const ibv_qp* queue_pair() const { return pair_; }
  uint32_t connection_idx() const { return connection_idx_; }

  // ---- state ----

  bool closed() const { return state_ == State::kClosed; }
  bool joined() const { return state_ == State::kJoined; }
  bool live() const { return state_ == State::kLive; }
  // Something went wrong since join; why.
  bool broken() const { return broken_; }
  const std::string& why() const { return why_; }
  void set_broken(std::string why);
  // Something was acknowledged or came in since join.
  bool proven() const { return proven_; }
  // Everything that was posted is acknowledged.
  bool settled() const { return posted_ == sent_ && queue_.completed() == queue_.posted(); }
  // Nothing came in, and no completion is under way.
  bool quiet() const { return !in(next_in_).has(next_in_) && !queue_.awaits() && !has_done(); }
  // A completion is under way: one that was asked for, or that of the next message's payload.
  bool awaits_completion() const { return queue_.awaits() || in(next_in_).has(next_in_); }
  // Asks for a completion of all that was posted.
  void settle();
  // Now and then: breaks when nothing that was posted is acknowledged for `most_ns`.
  void watch(uint64_t now_ns, uint64_t most_ns);

  // ---- sending ----

  bool can_send(size_t payload_bytes) const;
  // Only when can_send: a message with its payload in the ring, or elsewhere.
  void send_small(const Header& header, const void* payload, Token token);
  void send_large(const Header& header, const Payload& payload, Token token);
  // Posts what was sent and is not with the device, and gives ring slots back.
  void flush();
  // The next message whose source is free, in order.
  bool has_done() const {
    return reported_ < sent_ && (!record(reported_ + 1).large || acknowledged_ > reported_);
  }
  Token take_done(Bounces& bounces);
  // Letters. False when there is no room now.
  bool send(const Ask& ask) { return send_letter(BlockLayout::kAsk, &ask, sizeof(ask)); }
  bool send(const Tell& tell) { return send_letter(BlockLayout::kTell, &tell, sizeof(tell)); }

  // ---- receiving ----

  // True when the next message is here, all of it.
  bool has_message() const { return in(next_in_).has(next_in_) && is_here(next_in_); }
  Header header() const { return in(next_in_).header(); }
  const std::byte* payload(size_t bytes) const { return in(next_in_).payload(bytes); }
  void consume() {
    ++next_in_;
    if (next_in_ - 1 - told_ >= kTellEvery) flush();
  }
  // The last letters that came; count 0 when there was none.
  uint64_t num_asks() const {
    return load_word(block_->data() + BlockLayout::kAsk + offsetof(Ask, count));
  }
  Ask ask() const { return letter<Ask>(BlockLayout::kAsk); }
  Tell tell() const { return letter<Tell>(BlockLayout::kTell); }

  // A completion of this connection's.
  void completed(const ibv_wc& completion);

 private:
  enum class State : uint8_t { kClosed, kOpen, kJoined, kLive };

  // A message that was sent, until its slot is used again.
  struct Record {
    uint64_t number = 0;
    Payload payload;
    uint64_t bytes = 0;     // of a large one's payload
    uint64_t requests = 0;  // posted up to its last one
    Token token = 0;
    bool large = false;
  };

  Connection(std::span<const std::unique_ptr<Rail>> rails, bool& alarm, uint16_t idx,
             uint32_t connection_idx)
      : rails_(rails), alarm_(alarm), idx_(idx), connection_idx_(connection_idx) {}

  Slot in(uint64_t number) const { return slot(BlockLayout::kIn, number); }
  Slot out(uint64_t number) const { return slot(BlockLayout::kOut, number); }
  Slot slot(size_t ring, uint64_t number) const {
    return Slot(block_->data() + ring + number % kRingSlots * kSlotBytes);
  }
  bool is_here(uint64_t number) const;
  uint64_t received() const;
  uint64_t credit() const;
  Record& record(uint64_t number) { return records_[number % kRingSlots]; }
  const Record& record(uint64_t number) const { return records_[number % kRingSlots]; }
  uint64_t requests_for(size_t payload_bytes) const;
  // Numbers the next message and puts its header into the ring.
  Record& add_message(const Header& header, Token token);
  void post_message(uint64_t number);
  void post_write(const void* src, size_t bytes, uint32_t local_key, uint64_t address,
                  uint32_t remote_key, bool wants_completion, const uint32_t* immediate);
  void post_receive();
  bool send_letter(size_t theirs, const void* letter, size_t bytes);
  template <typename Letter>
  Letter letter(size_t at) const {
    Letter letter;
    const std::byte* memory = block_->data() + at;
    const uint64_t count = load_word(memory + offsetof(Letter, count));
    std::memcpy(&letter, memory, sizeof(letter));
    letter.count = count;
    return letter;
  }
  void tell_consumed(bool wants_completion);
  void note_acknowledged();

  std::span<const std::unique_ptr<Rail>> rails_;
  bool& alarm_;
  const uint16_t idx_;
  const uint32_t connection_idx_;
  std::unique_ptr<Region> block_;
  ibv_qp* pair_ = nullptr;
  State state_ = State::kClosed;
  size_t rail_idx_ = 0;
  size_t their_rail_ = 0;
  uint32_t epoch_ = 0;
  uint32_t first_packet_ = 0;
  uint32_t max_inline_ = 0;
  uint64_t their_block_ = 0;
  uint32_t their_block_key_ = 0;
  size_t receives_out_ = 0;
  bool broken_ = false;
  bool proven_ = false;
  std::string why_;

  SendQueue queue_;
  SilenceWatch silence_;
  std::array<Record, kRingSlots> records_;
  uint64_t sent_ = 0;          // messages in the ring
  uint64_t posted_ = 0;        // of these, with the device in this epoch
  uint64_t acknowledged_ = 0;  // of these
  uint64_t reported_ = 0;      // by take_done

  uint64_t next_in_ = 1;      // to be taken
  uint64_t told_ = 0;         // consumed, as the other end knows
  uint64_t payloads_in_ = 0;  // every large message up to this number has its payload here
};

// Takes what is in a completion queue, for the connections in `table` (by Connection's idx). False:
// the queue is broken.
bool poll_completions(ibv_cq& queue, std::span<Connection* const> table);

}  // namespace hfr::verbs
