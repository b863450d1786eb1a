// Rendezvous: how a communicator's ranks find each other, exchange what set-up needs, and later
// learn of each other's end. One rank hosts a server thread; every rank, the host too, is a member.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/net.hpp"
#include "base/private_fd.hpp"
#include "base/wait.hpp"
#include "bootstrap/auth.hpp"
#include "bootstrap/proven_stream.hpp"
#include "bootstrap/server.hpp"

namespace hfr {

// Ranks that a shrink has brought together: each is connected to the host already.
struct Gathered {
  UniqueFd connection;                // to the host; invalid: ranks meet at an address
  std::vector<ProvenStream> members;  // on the host: everybody's other end, by rank
  std::string local_host;             // numeric: this rank's interface
};

struct JoinRequest {
  int rank = 0;
  int num_ranks = 1;
  HostPort address;  // of the rendezvous
  Secret secret;
  UniqueFd listener;      // valid on the rank that hosts the server
  Gathered gathered;      // instead of address and listener
  std::string settings;   // "a=1;b=2": must be equal on all ranks
  int version = 0;        // likewise
  std::string bind_host;  // numeric address to connect from; empty: the system's choice
  std::string label;      // for sentences: "host x, pid 77"
  uint64_t deadline_ns = 0;
  Logger logger;
};

// One rank's connection to the rendezvous. Set-up calls block until their deadline; afterwards
// poll() and the report calls serve as a control plane. Any thread, one blocking call at a time.
class Membership {
 public:
  // Returns when all ranks are there and agree; else the same sentence on all.
  static Result<std::unique_ptr<Membership>> join(JoinRequest request);
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // Every rank's bytes, in rank order; at most 64 KiB a rank. `stage` is for the sentence at the
  // deadline, which names the ranks that did not come.
  Result<std::vector<std::vector<std::byte>>> all_gather(std::span<const std::byte> mine,
                                                         uint64_t deadline_ns,
                                                         const std::string& stage);
  Status barrier(uint64_t deadline_ns, const std::string& stage);

  // The numeric local address that reaches the rendezvous: the interface for all other sockets.
  const std::string& local_host() const { return local_host_; }
  // Proof of membership for the sockets of shared memory and transports.
  const Handshake& handshake() const { return *peer_handshake_; }

  // The job's first failure, once known here. Never blocks; costs a system call.
  std::optional<Failure> poll();
  // That failure is the end of the connection to the host, of which nobody has told.
  bool has_lost_host();
  // Tells all ranks of a failure; the first one counts.
  void report(const Status& status, int culprit);
  // The same, for who saw only that a peer is gone: returns the job's first failure, which may be
  // why it went. Blocks for 0.8 s at most, and only when the server does not answer.
  Failure report_and_ask(const Failure& mine);
  // At a deadline: tells what this rank waits for (rank -1: unknown) in an operation, and returns
  // whom the ranks together find to be the cause. Blocks for 0.8 s at most.
  Failure resolve_stall(const Wait& wait, uint64_t operation, const Status& what);

  // On the host: the server notes there whose connections end, until leave(). On others: nothing.
  void record_ends(record::Ends& ends) {
    if (server_ != nullptr) server_->record_ends(ends);
  }

  // Says goodbye, so that closing the connection is no death. Idempotent.
  void leave();

 private:
  Membership() = default;

  // Connects to the server's rank and proves membership.
  Status reach_host(JoinRequest& request);
  Status send(const std::vector<std::string>& fields);
  // Takes what has arrived; at most `deadline_ns` long when `wait_for` a gathered frame or a
  // verdict.
  void receive();
  // The verdict; when none comes, `mine` and that nobody answered.
  Failure answer_to(const Failure& mine);
  std::optional<Failure> await_verdict(uint64_t until_ns);
  void handle(std::span<const std::byte> frame);
  void lose_server();
  void distrust_server(const std::string& why);

  int rank_ = 0;
  int host_rank_ = 0;
  std::string local_host_;
  std::unique_ptr<SecretHandshake> peer_handshake_;
  std::unique_ptr<RendezvousServer> server_;  // on the host

  std::mutex send_mutex_;
  std::mutex receive_mutex_;
  PrivateFd fd_;
  std::vector<std::byte> buffer_;
  std::optional<std::vector<std::vector<std::byte>>> gathered_;
  std::optional<Failure> verdict_;
  bool lost_host_ = false;
  bool closing_ = false;  // the server went in peace
  bool left_ = false;
  size_t num_ranks_ = 1;
};

}  // namespace hfr
