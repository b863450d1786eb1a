#include "transport/verbs/connection.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/net.hpp"
#include "base/text.hpp"
#include "transport/verbs/device_error.hpp"

namespace hfr::verbs {
namespace {

constexpr uint64_t kCloseNs = 200'000'000;
constexpr uint32_t kPacketNumbers = 1u << 24;

void raise(std::byte* at, uint64_t value) {
  auto* word = reinterpret_cast<uint64_t*>(at);
  std::atomic_ref<uint64_t> counter(*word);
  if (counter.load(std::memory_order_relaxed) < value)
    counter.store(value, std::memory_order_release);
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::make(std::span<const std::unique_ptr<Rail>> rails,
                                                     bool& alarm, uint16_t idx,
                                                     uint32_t connection_idx) {
  std::unique_ptr<Connection> connection(new Connection(rails, alarm, idx, connection_idx));
  HFR_ASSIGN_OR_RETURN(connection->block_, Region::make_own(rails, BlockLayout::kBytes, false));
  return connection;
}

Connection::~Connection() {
  if (pair_ != nullptr) verbs_library()->destroy_qp(pair_);
}

Status Connection::open(size_t rail_idx, uint32_t epoch) {
  const Rail& rail = *rails_[rail_idx];
  rail_idx_ = rail_idx;
  epoch_ = epoch;
  ibv_qp_init_attr init{};
  init.send_cq = rail.completions();
  init.recv_cq = rail.completions();
  init.qp_type = IBV_QPT_RC;
  init.cap.max_send_wr = SendQueue::kDepth;
  init.cap.max_recv_wr = kReceives;
  init.cap.max_send_sge = 1;
  init.cap.max_recv_sge = 1;
  // Less than asked for, or nothing, is as well: the ring's copy stays until it was read.
  for (uint32_t inline_bytes : {uint32_t{kSlotBytes}, 128u, 64u, 0u}) {
    init.cap.max_inline_data = inline_bytes;
    pair_ = rail.library().create_qp(rail.domain(), &init);
    if (pair_ != nullptr) break;
  }
  if (pair_ == nullptr) return device_error("making a queue pair", rail.info(), errno);
  max_inline_ = init.cap.max_inline_data;
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = static_cast<uint8_t>(rail.info().port);
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  const int error = rail.library().modify_qp(
      pair_, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) return device_error("preparing a queue pair", rail.info(), error);
  first_packet_ = static_cast<uint32_t>(monotonic_ns() >> 8) % kPacketNumbers;
  state_ = State::kOpen;
  broken_ = false;
  proven_ = false;
  why_.clear();
  receives_out_ = 0;
  for (size_t i = 0; i < kReceives; ++i) post_receive();
  return Status();
}

void Connection::close(std::span<Connection* const> table) {
  if (pair_ == nullptr) return;
  const Rail& rail = *rails_[rail_idx_];
  state_ = State::kClosed;
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  rail.library().modify_qp(pair_, &attributes, IBV_QP_STATE);
  // Every receive request comes back, those that payloads used before the flushed ones: unless the
  // completion queue was given up. What it had no room for counts as not received.
  const uint64_t until = monotonic_ns() + kCloseNs;
  while (poll_completions(*pair_->recv_cq, table) && receives_out_ > 0 &&
         pair_->recv_cq == rail.completions() && monotonic_ns() < until) {
  }
  rail.library().destroy_qp(pair_);
  pair_ = nullptr;
  proven_ = false;
}

LinkCard Connection::card() {
  LinkCard card;
  card.connection_idx = connection_idx_;
  card.lid = rails_[rail_idx_]->card().lid;
  card.epoch = epoch_;
  card.queue_pair = pair_->qp_num;
  card.first_packet = first_packet_;
  card.block = reinterpret_cast<uintptr_t>(block_->data());
  card.block_key = block_->remote_key(rail_idx_);
  card.received = received();
  card.acknowledged = acknowledged_;
  card.consumed = next_in_ - 1;
  return card;
}

Status Connection::join(const LinkCard& theirs, const Path& path) {
  if (theirs.received > sent_ || theirs.consumed > theirs.received ||
      theirs.acknowledged >= next_in_ + kRingSlots) {
    return Status(Code::kRemoteError,
                  "the other side's account of what it received makes no sense");
  }
  const Rail& rail = *rails_[rail_idx_];
  if (!rail.has_gid(path.gids.mine)) {
    return Status(Code::kSystemError, cat(rail.info().text(), ": its ", path.gids.mine.text(),
                                          " is gone; did its network interface lose its address?"));
  }
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = static_cast<ibv_mtu>(std::bit_width(unsigned{path.mtu}) - 8);
  attributes.dest_qp_num = theirs.queue_pair;
  attributes.rq_psn = theirs.first_packet;
  attributes.max_dest_rd_atomic = 1;
  attributes.min_rnr_timer = 12;
  attributes.ah_attr.port_num = static_cast<uint8_t>(rail.info().port);
  attributes.ah_attr.dlid = theirs.lid;
  attributes.ah_attr.sl = path.service_level;
  const GidPair& gids = path.gids;
  attributes.ah_attr.is_global =
      gids.mine.kind != GidKind::kInfiniBand ||
      !std::equal(gids.mine.bytes.begin(), gids.mine.bytes.begin() + 8, gids.theirs.bytes.begin());
  std::memcpy(&attributes.ah_attr.grh.dgid, gids.theirs.bytes.data(), 16);
  attributes.ah_attr.grh.sgid_index = gids.mine.index;
  attributes.ah_attr.grh.hop_limit = 64;
  attributes.ah_attr.grh.traffic_class = path.traffic_class;
  int error = rail.library().modify_qp(pair_, &attributes,
                                       IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
                                           IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                           IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error == 0) {
    attributes = {};
    attributes.qp_state = IBV_QPS_RTS;
    attributes.timeout = path.timeout;
    attributes.retry_cnt = path.retry_count;
    attributes.rnr_retry = 7;
    attributes.sq_psn = first_packet_;
    attributes.max_rd_atomic = 1;
    error =
        rail.library().modify_qp(pair_, &attributes,
                                 IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  }
  if (error != 0) return device_error("connecting a queue pair", rail.info(), error);
  their_rail_ = path.their_rail;
  their_block_ = theirs.block;
  their_block_key_ = theirs.block_key;
  raise(block_->data() + BlockLayout::kCredit, theirs.consumed);
  payloads_in_ = std::max(payloads_in_, theirs.acknowledged);
  acknowledged_ = std::max(acknowledged_, theirs.received);
  posted_ = acknowledged_;
  queue_.reset();
  silence_.reset();
  state_ = State::kJoined;
  return Status();
}

void Connection::start() {
  state_ = State::kLive;
  tell_consumed(true);  // its completion proves the path
  flush();
}

void Connection::set_broken(std::string why) {
  if (broken_) return;
  broken_ = true;
  alarm_ = true;
  why_ = std::move(why);
}

void Connection::settle() {
  if (live() && !broken_ && !queue_.ends_signaled()) tell_consumed(true);
}

void Connection::watch(uint64_t now_ns, uint64_t most_ns) {
  if (!live() || broken_) return;
  const uint64_t silent_ns = silence_.look(queue_.posted(), queue_.completed(), now_ns);
  if (silent_ns > most_ns) {
    set_broken(cat("nothing was acknowledged for ", silent_ns / 1'000'000,
                   " ms, of which the device says nothing"));
  } else if (silent_ns > most_ns / 4) {
    settle();
  }
}

uint64_t Connection::credit() const { return load_word(block_->data() + BlockLayout::kCredit); }

uint64_t Connection::requests_for(size_t payload_bytes) const {
  if (payload_bytes <= kMaxSmallBytes) return 1;
  const uint64_t most = rails_[rail_idx_]->max_message_bytes();
  return 1 + (payload_bytes + most - 1) / most;
}

bool Connection::can_send(size_t payload_bytes) const {
  return live() && !broken_ && posted_ == sent_ && sent_ - credit() < kRingSlots &&
         sent_ - reported_ < kRingSlots && queue_.has_room(requests_for(payload_bytes));
}

void Connection::send_small(const Header& header, const void* payload, Token token) {
  Slot slot = out(sent_ + 1);
  if (header.bytes > 0) std::memcpy(slot.payload(header.bytes), payload, header.bytes);
  add_message(header, token).large = false;
  post_message(sent_);
}

void Connection::send_large(const Header& header, const Payload& payload, Token token) {
  Record& record = add_message(header, token);
  record.payload = payload;
  record.large = true;
  post_message(sent_);
}

Connection::Record& Connection::add_message(const Header& header, Token token) {
  const uint64_t number = ++sent_;
  out(number).write(header, number);
  Record& record = this->record(number);
  record.number = number;
  record.bytes = header.bytes;
  record.token = token;
  return record;
}

void Connection::flush() {
  if (!live() || broken_) return;
  while (posted_ < sent_ && queue_.has_room(requests_for(record(posted_ + 1).bytes))) {
    post_message(posted_ + 1);
  }
  if (next_in_ - 1 - told_ >= kTellEvery) tell_consumed(false);
}

void Connection::post_message(uint64_t number) {
  Record& record = this->record(number);
  const size_t in_slot = record.large ? 0 : record.bytes;
  const size_t offset = Slot::offset(in_slot);
  const size_t slot_at = number % kRingSlots * kSlotBytes + offset;
  post_write(block_->data() + BlockLayout::kOut + slot_at, Slot::message_bytes(in_slot),
             block_->local_key(rail_idx_), their_block_ + BlockLayout::kIn + slot_at,
             their_block_key_, false, nullptr);
  if (record.large) {
    const auto immediate = static_cast<uint32_t>(number);
    const uint64_t most = rails_[rail_idx_]->max_message_bytes();
    const Payload& payload = record.payload;
    for (uint64_t at = 0; at < record.bytes;) {
      const uint64_t piece = std::min(most, record.bytes - at);
      const bool last = at + piece == record.bytes;
      post_write(payload.src + at, piece, payload.region->local_key(rail_idx_),
                 payload.home.address + at, payload.home.keys[their_rail_], last,
                 last ? &immediate : nullptr);
      at += piece;
    }
  }
  record.requests = queue_.posted();
  posted_ = number;
}

void Connection::post_write(const void* src, size_t bytes, uint32_t local_key, uint64_t address,
                            uint32_t remote_key, bool wants_completion, const uint32_t* immediate) {
  ibv_sge piece{reinterpret_cast<uintptr_t>(src), static_cast<uint32_t>(bytes), local_key};
  ibv_send_wr request{};
  const bool signal = queue_.post(wants_completion);
  request.wr_id = RequestId{static_cast<uint32_t>(queue_.posted()), idx_,
                            static_cast<uint16_t>(epoch_ % RequestId::kEpochs), false}
                      .pack();
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = IBV_WR_RDMA_WRITE;
  if (immediate != nullptr) {
    request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    request.imm_data = htonl(*immediate);
  }
  request.send_flags = signal ? IBV_SEND_SIGNALED : 0;
  if (bytes <= max_inline_) request.send_flags |= IBV_SEND_INLINE;
  request.wr.rdma.remote_addr = address;
  request.wr.rdma.rkey = remote_key;
  ibv_send_wr* bad = nullptr;
  if (const int error = ibv_post_send(pair_, &request, &bad); error != 0)
    set_broken(cat("posting a write failed: ", std::strerror(error)));
}

void Connection::post_receive() {
  ibv_recv_wr request{};
  request.wr_id =
      RequestId{0, idx_, static_cast<uint16_t>(epoch_ % RequestId::kEpochs), true}.pack();
  ibv_recv_wr* bad = nullptr;
  if (const int error = ibv_post_recv(pair_, &request, &bad); error != 0) {
    set_broken(cat("posting a receive failed: ", std::strerror(error)));
  } else {
    ++receives_out_;
  }
}

void Connection::tell_consumed(bool wants_completion) {
  if (!queue_.has_room(1)) return;
  told_ = next_in_ - 1;
  std::byte* at = block_->data() + BlockLayout::mine(BlockLayout::kCredit);
  raise(at, told_);
  post_write(at, sizeof(told_), block_->local_key(rail_idx_), their_block_ + BlockLayout::kCredit,
             their_block_key_, wants_completion, nullptr);
}

bool Connection::send_letter(size_t theirs, const void* letter, size_t bytes) {
  if (!live() || broken_ || !queue_.has_room(1)) return false;
  std::byte* mine = block_->data() + BlockLayout::mine(theirs);
  std::memcpy(mine, letter, bytes);
  post_write(mine, bytes, block_->local_key(rail_idx_), their_block_ + theirs, their_block_key_,
             false, nullptr);
  return true;
}

Token Connection::take_done(Bounces& bounces) {
  const Record& record = this->record(++reported_);
  if (record.large && record.payload.bounce != Bounces::kNone)
    bounces.give_back(record.payload.bounce);
  return record.token;
}

bool Connection::is_here(uint64_t number) const {
  const Slot slot = in(number);
  return slot.has(number) && (slot.header().kind != MessageKind::kLarge || payloads_in_ >= number);
}

uint64_t Connection::received() const {
  uint64_t number = next_in_ - 1;
  while (number + 1 < next_in_ + kRingSlots && is_here(number + 1)) ++number;
  return number;
}

void Connection::note_acknowledged() {
  while (acknowledged_ < posted_) {
    const Record& next = record(acknowledged_ + 1);
    // A record that serves a later message was consumed by the other end.
    if (next.number == acknowledged_ + 1 && next.requests > queue_.completed()) return;
    ++acknowledged_;
  }
}

void Connection::completed(const ibv_wc& completion) {
  const RequestId id = RequestId::unpack(completion.wr_id);
  if (id.epoch != epoch_ % RequestId::kEpochs || pair_ == nullptr) return;
  const bool ok = completion.status == IBV_WC_SUCCESS;
  if (id.receive) --receives_out_;
  if (!ok) {
    set_broken(verbs_library()->wc_status_str(completion.status));
    return;
  }
  proven_ = true;
  if (id.receive) {
    payloads_in_ = widen(payloads_in_, ntohl(completion.imm_data));
    if (!closed() && !broken_) post_receive();
  } else {
    queue_.complete(id.count);
    note_acknowledged();
  }
}

bool poll_completions(ibv_cq& queue, std::span<Connection* const> table) {
  std::array<ibv_wc, 16> completions;
  int count = 0;
  do {
    count = ibv_poll_cq(&queue, static_cast<int>(completions.size()), completions.data());
    for (int i = 0; i < count; ++i) {
      const ibv_wc& completion = completions[static_cast<size_t>(i)];
      const size_t idx = RequestId::unpack(completion.wr_id).connection_idx;
      if (idx < table.size() && table[idx] != nullptr) table[idx]->completed(completion);
    }
  } while (count == static_cast<int>(completions.size()));
  return count >= 0;
}

}  // namespace hfr::verbs
