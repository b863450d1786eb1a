// Connection: one socket's frames, both ways. Never blocks; allocates at construction only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/net.hpp"
#include "ports/completion.hpp"
#include "transport/landings.hpp"
#include "transport/tcp/wire.hpp"

namespace hfr::tcp {

class Connection {
 public:
  static constexpr uint32_t kSendDepth = 64;  // puts between submission and the report of kPutDone
  static constexpr size_t kInlineBytes = 256;
  static constexpr size_t kMaxSendBytes = size_t{1} << 20;    // of one system call
  static constexpr size_t kReceiveBuffer = size_t{64} << 10;  // small frames per system call

  // `landings` outlives the connection.
  Connection(UniqueFd fd, const LandingTable& landings);

  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  // Sending: entries [reported_, sent_) left, [sent_, queued_) wait.
  bool send_queue_full() const { return queued_ - reported_ == kSendDepth; }
  // Queues a frame and, when nothing waits before it, hands it to the kernel. Not when the queue is
  // full.
  void send(const FrameHeader& header, const void* src, Token token);
  // Hands on what waits.
  void flush();
  bool has_unsent() const { return queued_ != sent_ && !send_failed_; }
  bool has_done() const { return reported_ != sent_; }
  // The token of a put that left; only when has_done().
  Token take_done() { return entries_[reported_++ % kSendDepth].token; }

  // Receiving. A turn makes a few system calls at most, and none unless the socket may be readable.
  void mark_readable() { readable_ = true; }
  bool readable() const { return readable_; }
  // Bytes that were read hold a header that was not looked at.
  bool has_buffered() const {
    return !violated_ && !in_frame_ && end_ - begin_ >= sizeof(FrameHeader);
  }
  void begin_turn() { reads_left_ = kReadsPerTurn; }
  // True when a whole frame, payload in its landing, waits to be taken.
  bool advance();
  bool has_frame() const { return in_frame_ && received_ == frame_.bytes; }
  const FrameHeader& frame() const { return frame_; }
  void take_frame() { in_frame_ = false; }

  // Nothing more will come; error() says why.
  bool ended() const { return ended_; }
  // The other side broke the protocol: the bytes that follow mean nothing.
  bool violated() const { return violated_; }
  const std::string& error() const { return error_; }
  void violate(std::string why);

 private:
  static constexpr int kReadsPerTurn = 4;

  // Header and inline payload lie side by side, so that a small frame is one piece.
  struct SendEntry {
    FrameHeader header;
    std::array<std::byte, kInlineBytes> inline_payload;
    const std::byte* src;
    Token token;
  };
  static_assert(offsetof(SendEntry, inline_payload) == sizeof(FrameHeader));

  // One system call. False when the kernel took less than all or failed.
  bool flush_once();
  void mark_sent(size_t bytes);
  // Starts the frame whose header is in the buffer, and takes what the buffer holds of its payload.
  void parse_header();
  void read_once();
  void end(std::string why);

  UniqueFd fd_;
  const LandingTable& landings_;

  std::vector<SendEntry> entries_;
  uint32_t reported_ = 0;
  uint32_t sent_ = 0;
  uint32_t queued_ = 0;
  size_t head_sent_ = 0;  // bytes of entry sent_, with its header, that left
  bool send_failed_ = false;

  std::vector<std::byte> buffer_;  // [begin_, end_) was read and not yet parsed
  size_t begin_ = 0;
  size_t end_ = 0;
  FrameHeader frame_;
  bool in_frame_ = false;
  std::byte* landing_ = nullptr;
  uint64_t received_ = 0;  // bytes of frame_ that are in the landing
  bool readable_ = false;
  int reads_left_ = 0;

  bool ended_ = false;
  bool violated_ = false;
  std::string error_;
};

}  // namespace hfr::tcp
