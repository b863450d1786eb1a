// RendezvousServer: the one thread in which a communicator's ranks meet. Everything non-blocking,
// one poll loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "base/log.hpp"
#include "base/net.hpp"
#include "bootstrap/auth.hpp"

namespace hfr {

struct ServerOptions {
  int host_rank = 0;
  int num_ranks = 1;
  Secret key;                // derived for rendezvous connections
  uint64_t deadline_ns = 0;  // for joining
  Logger logger;
};

class RendezvousServer {
 public:
  // Serves until stop() or destruction.
  static Result<std::unique_ptr<RendezvousServer>> start(UniqueFd listener, ServerOptions options);
  ~RendezvousServer();

  // Tells the members that are left, hands them what is still unsent, and ends the thread.
  // Idempotent.
  void stop();

 private:
  RendezvousServer() = default;
  UniqueFd wake_;  // eventfd
  std::thread thread_;
};

}  // namespace hfr
