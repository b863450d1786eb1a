// Control: the control connection to a peer after set-up. Link cards come and go on it; its end
// says that the peer is gone. Never blocks for long.
#pragma once

#include <optional>
#include <string>

#include "base/net.hpp"
#include "transport/verbs/wire.hpp"

namespace hfr::verbs {

class Control {
 public:
  explicit Control(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  Status send(const LinkCard& card);
  // The next card that came.
  std::optional<LinkCard> receive();
  // The peer closed it, or it broke: nothing more will come.
  bool ended() const { return ended_; }
  const std::string& why() const { return why_; }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  std::array<std::byte, sizeof(LinkCard)> buffer_;
  size_t filled_ = 0;
  bool ended_ = false;
  std::string why_;
};

}  // namespace hfr::verbs
