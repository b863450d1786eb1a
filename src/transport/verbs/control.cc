#include "transport/verbs/control.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "base/text.hpp"

namespace hfr::verbs {
namespace {

// Cards are few and small: the socket's buffer takes them at once.
constexpr uint64_t kSendNs = 1'000'000'000;

}  // namespace

Status Control::send(const LinkCard& card) {
  return send_all(fd_.get(), std::as_bytes(std::span(&card, 1)), monotonic_ns() + kSendNs,
                  "mending a connection");
}

std::optional<LinkCard> Control::receive() {
  while (!ended_ && fd_.valid()) {
    const ssize_t got =
        recv(fd_.get(), buffer_.data() + filled_, buffer_.size() - filled_, MSG_DONTWAIT);
    if (got > 0) {
      filled_ += static_cast<size_t>(got);
      if (filled_ < buffer_.size()) continue;
      filled_ = 0;
      LinkCard card;
      std::memcpy(&card, buffer_.data(), sizeof(card));
      return card;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    ended_ = true;
    why_ = got == 0 ? "it closed its control connection"
                    : cat("its control connection broke: ", std::strerror(errno));
  }
  return std::nullopt;
}

}  // namespace hfr::verbs
