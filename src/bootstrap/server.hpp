// RendezvousServer: the one thread in which a communicator's ranks meet. Everything non-blocking,
// one poll loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "base/net.hpp"
#include "base/record_layout.hpp"
#include "bootstrap/auth.hpp"
#include "bootstrap/proven_stream.hpp"

namespace hfr {

struct ServerOptions {
  int host_rank = 0;
  int num_ranks = 1;
  Secret key;                // derived for rendezvous connections
  uint64_t deadline_ns = 0;  // for joining
  // Ranks that wait for others for so long are told of in the log; again after twice the time.
  uint64_t tell_late_ns = 10'000'000'000;
  // By rank, all of them, where a shrink has brought them together; the end of one is that rank's.
  // There is no listener then.
  std::vector<ProvenStream> members;
  Logger logger;
};

class RendezvousServer {
 public:
  // Serves until stop() or destruction.
  static Result<std::unique_ptr<RendezvousServer>> start(UniqueFd listener, ServerOptions options);
  ~RendezvousServer();

  // From now on notes there whose connections end. It must live until stop() has returned.
  void record_ends(record::Ends& ends);
  // Tells the members that are left, hands them what is still unsent, and ends the thread.
  // Idempotent.
  void stop();

 private:
  RendezvousServer() = default;
  UniqueFd wake_;  // eventfd
  std::atomic<record::Ends*> ends_{nullptr};
  std::thread thread_;
};

}  // namespace hfr
