#include "transport/tcp/connection.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.hpp"

namespace hfr::tcp {
namespace {

constexpr size_t kHeader = sizeof(FrameHeader);

}  // namespace

Connection::Connection(UniqueFd fd, const LandingTable& landings)
    : fd_(std::move(fd)), landings_(landings), entries_(kSendDepth), buffer_(kReceiveBuffer) {}

void Connection::send(const FrameHeader& header, const void* src, Token token) {
  bool idle = queued_ == sent_;
  SendEntry& entry = entries_[queued_++ % kSendDepth];
  entry.header = header;
  entry.src = static_cast<const std::byte*>(src);
  entry.token = token;
  if (header.bytes <= kInlineBytes) {
    if (header.bytes > 0) std::memcpy(entry.inline_payload.data(), src, header.bytes);
    entry.src = nullptr;
  }
  if (idle) flush_once();
}

void Connection::flush() {
  constexpr int kSendsPerTurn = 4;
  for (int i = 0; i < kSendsPerTurn && has_unsent(); ++i) {
    if (!flush_once()) return;
  }
}

bool Connection::flush_once() {
  if (send_failed_) return false;
  constexpr size_t kPieces = 32;
  std::array<iovec, kPieces> pieces;
  size_t num_pieces = 0;
  size_t total = 0;
  size_t skip = head_sent_;
  auto add = [&](const void* data, size_t bytes) {
    size_t skipped = std::min(skip, bytes);
    skip -= skipped;
    size_t rest = std::min(bytes - skipped, kMaxSendBytes - total);
    if (rest == 0) return;
    pieces[num_pieces++] = {const_cast<std::byte*>(static_cast<const std::byte*>(data)) + skipped,
                            rest};
    total += rest;
  };
  for (uint32_t i = sent_; i != queued_ && num_pieces + 2 <= kPieces && total < kMaxSendBytes;
       ++i) {
    const SendEntry& entry = entries_[i % kSendDepth];
    if (entry.src == nullptr) {
      add(&entry, kHeader + entry.header.bytes);
    } else {
      add(&entry, kHeader);
      add(entry.src, entry.header.bytes);
    }
  }
  ssize_t taken = 0;
  do {
    if (num_pieces == 1) {
      taken = ::send(fd_.get(), pieces[0].iov_base, total, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = num_pieces;
      taken = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  } while (taken < 0 && errno == EINTR);
  if (taken < 0) {
    // A broken connection may still hold frames that the peer sent before it left: reading finds
    // its end.
    if (errno != EAGAIN && errno != ENOBUFS) {
      send_failed_ = true;
      readable_ = true;
    }
    return false;
  }
  mark_sent(static_cast<size_t>(taken));
  return static_cast<size_t>(taken) == total;
}

void Connection::mark_sent(size_t bytes) {
  while (bytes > 0) {
    size_t rest = kHeader + entries_[sent_ % kSendDepth].header.bytes - head_sent_;
    if (bytes < rest) {
      head_sent_ += bytes;
      return;
    }
    bytes -= rest;
    head_sent_ = 0;
    ++sent_;
  }
}

bool Connection::advance() {
  while (!violated_) {
    if (has_frame()) return true;
    if (!in_frame_ && end_ - begin_ >= kHeader) {
      parse_header();
      continue;
    }
    if (!readable_ || reads_left_ == 0 || ended_) return false;
    --reads_left_;
    read_once();
  }
  return false;
}

void Connection::parse_header() {
  std::memcpy(&frame_, buffer_.data() + begin_, kHeader);
  begin_ += kHeader;
  const Landing* landing = landings_.find(frame_.landing);
  if (landing == nullptr) {
    return violate(cat("it sent ", frame_.bytes, " bytes to landing ", frame_.landing,
                       ", which does not exist here"));
  }
  if (frame_.bytes > landing->bytes) {
    return violate(cat("it sent ", frame_.bytes, " bytes to landing ", frame_.landing,
                       ", which holds ", landing->bytes));
  }
  in_frame_ = true;
  landing_ = landing->memory;
  received_ = std::min<uint64_t>(frame_.bytes, end_ - begin_);
  if (received_ > 0) std::memcpy(landing_, buffer_.data() + begin_, received_);
  begin_ += received_;
  if (begin_ == end_) begin_ = end_ = 0;
}

void Connection::read_once() {
  // After a small frame another one is likely: take many at once. After a large one only its
  // header, so that the payload goes straight to its landing.
  size_t ahead = frame_.bytes <= kReceiveBuffer / 4 ? kReceiveBuffer : kHeader;
  size_t want = 0;
  ssize_t got = 0;
  if (in_frame_) {
    // The buffer is empty: parse_header took all of it.
    std::array<iovec, 2> pieces = {iovec{landing_ + received_, frame_.bytes - received_},
                                   iovec{buffer_.data(), ahead}};
    want = pieces[0].iov_len + pieces[1].iov_len;
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    got = recvmsg(fd_.get(), &message, MSG_DONTWAIT);
  } else {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    want = ahead - end_;
    got = recv(fd_.get(), buffer_.data() + end_, want, MSG_DONTWAIT);
  }
  if (got > 0) {
    auto bytes = static_cast<size_t>(got);
    if (in_frame_) {
      size_t payload = std::min<size_t>(bytes, frame_.bytes - received_);
      received_ += payload;
      bytes -= payload;
    }
    end_ += bytes;
    if (static_cast<size_t>(got) < want) readable_ = false;
  } else if (got == 0) {
    end(in_frame_ || end_ != begin_ ? "it closed the connection in the middle of a frame"
                                    : "it closed the connection");
  } else if (errno == EAGAIN) {
    readable_ = false;
    if (send_failed_) end("the connection broke while sending to it");
  } else if (errno != EINTR) {
    end(cat("receiving from it failed: ", std::strerror(errno)));
  }
}

void Connection::end(std::string why) {
  ended_ = true;
  readable_ = false;
  error_ = std::move(why);
}

void Connection::violate(std::string why) {
  violated_ = true;
  end(std::move(why));
}

}  // namespace hfr::tcp
