#include "bootstrap/proven_stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/pack.hpp"
#include "bootstrap/messages.hpp"

namespace hfr {

short ProvenStream::wanted_events() const {
  return static_cast<short>(out_.empty() ? POLLIN : POLLIN | POLLOUT);
}

bool ProvenStream::receive() {
  std::byte chunk[16384];
  while (fd_.valid()) {
    ssize_t got = recv(fd_.get(), chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got > 0) {
      in_.insert(in_.end(), chunk, chunk + got);
      return true;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    fd_.reset();
  }
  return false;
}

Result<std::optional<std::vector<std::byte>>> ProvenStream::next_frame(size_t limit) {
  while (handshake_ != nullptr) {
    size_t want = handshake_->wants();
    if (in_.size() < want) return std::optional<std::vector<std::byte>>();
    auto answer = handshake_->feed(std::span(in_).first(want));
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(want));
    if (!answer.ok()) return answer.status();
    out_.insert(out_.end(), answer->begin(), answer->end());
    flush();
    if (handshake_->done()) {
      peer_rank_ = handshake_->peer_rank();
      handshake_.reset();
    }
  }
  return rendezvous::take_frame(in_, limit);
}

void ProvenStream::send(const std::vector<std::byte>& framed) {
  out_.insert(out_.end(), framed.begin(), framed.end());
  flush();
}

void ProvenStream::flush() {
  size_t sent = 0;
  while (fd_.valid() && sent < out_.size()) {
    ssize_t n =
        ::send(fd_.get(), out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) {
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
      sent = out_.size();
      break;
    }
    sent += static_cast<size_t>(n);
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent));
}

std::vector<std::byte> framed(const std::vector<std::string>& fields) {
  std::vector<std::byte> body = pack(fields);
  std::vector<std::byte> frame;
  for (size_t i = 0; i < 4; ++i) frame.push_back(static_cast<std::byte>(body.size() >> (8 * i)));
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

}  // namespace hfr
