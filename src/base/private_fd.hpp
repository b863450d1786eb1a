// PrivateFd: owns a descriptor that a forked child does not keep. A socket is open for as long as
// any process has it: a child that lives on would hold the parent's address, and hide the parent's
// death from its peers.
//
// In the child the number stands for /dev/null from the fork on, so it is nobody else's either. A
// child that executes a program has none of the descriptors anyway.
//
// Threads: a fork waits for those that make or end one.
#pragma once

#include <utility>

#include "base/net.hpp"

namespace hfr {

class PrivateFd {
 public:
  PrivateFd() = default;
  explicit PrivateFd(UniqueFd fd);
  PrivateFd(PrivateFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  PrivateFd& operator=(PrivateFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~PrivateFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

}  // namespace hfr
