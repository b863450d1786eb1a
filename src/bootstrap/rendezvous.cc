#include "bootstrap/rendezvous.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/stalls.hpp"
#include "base/text.hpp"
#include "bootstrap/messages.hpp"

namespace hfr {
namespace {

using namespace rendezvous;

constexpr uint64_t kMillisecond = 1'000'000;
// The server's own deadline verdict takes this long to arrive at most; after it, the server is the
// one that hangs.
constexpr uint64_t kServerGraceNs = 500 * kMillisecond;
constexpr uint64_t kSendNs = 1'000 * kMillisecond;

Status explain_unreachable(const JoinRequest& request, const Status& why) {
  return Status(why.code(), cat("rank ", request.rank, " cannot join at ", text(request.address),
                                ", the rendezvous (rank 0's, unless another rank made the id): ",
                                why.message()));
}

}  // namespace

Result<std::unique_ptr<Membership>> Membership::join(JoinRequest request) {
  std::unique_ptr<Membership> membership(new Membership());
  Membership& m = *membership;
  m.rank_ = request.rank;
  m.num_ranks_ = static_cast<size_t>(request.num_ranks);
  m.peer_handshake_ =
      std::make_unique<SecretHandshake>(request.secret, "hfreduce peer", request.rank);
  if (request.listener.valid() || !request.gathered.members.empty()) {
    ServerOptions options;
    options.host_rank = request.rank;
    options.num_ranks = request.num_ranks;
    options.key = request.secret.derive("hfreduce rendezvous");
    options.deadline_ns = request.deadline_ns;
    options.members = std::move(request.gathered.members);
    options.logger = request.logger;
    HFR_ASSIGN_OR_RETURN(m.server_,
                         RendezvousServer::start(std::move(request.listener), std::move(options)));
  }
  HFR_RETURN_IF_ERROR(m.reach_host(request));
  HFR_RETURN_IF_ERROR(m.send({std::string(1, kJoin), cat(request.version), cat(request.rank),
                              cat(request.num_ranks), request.settings, request.label}));
  HFR_RETURN_IF_ERROR(m.barrier(request.deadline_ns, "joining"));
  return membership;
}

Status Membership::reach_host(JoinRequest& request) {
  if (request.gathered.connection.valid()) {
    fd_ = PrivateFd(std::move(request.gathered.connection));
    local_host_ = request.gathered.local_host;
    return Status();
  }
  auto fd = connect_tcp(request.address, request.bind_host, request.deadline_ns);
  if (!fd.ok()) return explain_unreachable(request, fd.status());
  fd_ = PrivateFd(std::move(*fd));
  SecretHandshake handshake(request.secret, "hfreduce rendezvous", request.rank);
  auto host = handshake.run(fd_.get(), Handshake::Side::kConnecting, request.deadline_ns);
  if (!host.ok()) return explain_unreachable(request, host.status());
  host_rank_ = *host;
  HFR_ASSIGN_OR_RETURN(HostPort local, local_address(fd_.get()));
  local_host_ = local.host;
  return Status();
}

Membership::~Membership() { leave(); }

Status Membership::send(const std::vector<std::string>& fields) {
  std::lock_guard lock(send_mutex_);
  if (!fd_.valid()) return Status(Code::kRemoteError, "the control connection is closed");
  return send_frame(fd_.get(), pack(fields), monotonic_ns() + kSendNs, "telling the rendezvous");
}

Result<std::vector<std::vector<std::byte>>> Membership::all_gather(std::span<const std::byte> mine,
                                                                   uint64_t deadline_ns,
                                                                   const std::string& stage) {
  if (mine.size() > kMaxBlobBytes) {
    return Status(Code::kInternalError,
                  cat(stage, ": ", mine.size(), " bytes are more than ", kMaxBlobBytes));
  }
  uint64_t now = monotonic_ns();
  uint64_t left_ms = deadline_ns > now ? (deadline_ns - now) / kMillisecond : 0;
  Status sent = send({std::string(1, kGather), stage, cat(left_ms),
                      std::string(reinterpret_cast<const char*>(mine.data()), mine.size())});
  // A send that fails has a reason that the server, or its silence, tells better.
  std::lock_guard lock(receive_mutex_);
  while (true) {
    receive();
    // What was gathered came first: a failure that followed it belongs to what the caller does
    // next.
    if (gathered_) {
      auto all = std::move(*gathered_);
      gathered_.reset();
      return all;
    }
    if (verdict_) return verdict_->status;
    if (closing_) {
      return Status(Code::kRemoteError,
                    cat(stage, ": rank ", host_rank_,
                        ", which hosts the rendezvous, has left the communicator"));
    }
    if (!sent.ok()) return sent;
    if (CancelScope::cancelled()) return Status(Code::kAborted, cat(stage, ": cancelled"));
    if (monotonic_ns() > deadline_ns + kServerGraceNs) {
      return Status(Code::kTimeout, cat(stage, ": rank ", host_rank_,
                                        ", which hosts the rendezvous, does not answer"));
    }
    pollfd entry{fd_.get(), POLLIN, 0};
    poll_all({&entry, 1}, 20);
  }
}

Status Membership::barrier(uint64_t deadline_ns, const std::string& stage) {
  return all_gather({}, deadline_ns, stage).status();
}

std::optional<Failure> Membership::poll() {
  std::lock_guard lock(receive_mutex_);
  receive();
  return verdict_;
}

bool Membership::has_lost_host() {
  std::lock_guard lock(receive_mutex_);
  return lost_host_;
}

void Membership::report(const Status& status, int culprit) {
  // A control plane that is gone cannot be told; the others find out by themselves.
  (void)send({std::string(1, kReport), cat(static_cast<int>(status.code())), cat(culprit),
              status.message()});
}

Failure Membership::report_and_ask(const Failure& mine) {
  report(mine.status, mine.rank);
  return answer_to(mine);
}

Failure Membership::resolve_stall(const Wait& wait, uint64_t operation, const Status& what) {
  (void)send({std::string(1, kStall), cat(static_cast<int>(what.code())), cat(wait.rank),
              what.message(), cat(static_cast<int>(wait.stage)), cat(operation), cat(wait.chunk)});
  return answer_to({what, wait.rank});
}

Failure Membership::answer_to(const Failure& mine) {
  if (auto verdict = await_verdict(monotonic_ns() + kStallVerdictNs)) return *verdict;
  return closing_ ? mine : unanswered(mine, host_rank_);
}

std::optional<Failure> Membership::await_verdict(uint64_t until_ns) {
  std::lock_guard lock(receive_mutex_);
  while (true) {
    receive();
    if (verdict_) return verdict_;
    if (closing_ || !fd_.valid() || monotonic_ns() > until_ns) return std::nullopt;
    pollfd entry{fd_.get(), POLLIN, 0};
    poll_all({&entry, 1}, 20);
  }
}

void Membership::receive() {
  std::byte chunk[16384];
  while (fd_.valid() && !verdict_ && !closing_) {
    ssize_t got = recv(fd_.get(), chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got > 0) {
      buffer_.insert(buffer_.end(), chunk, chunk + got);
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else if (got < 0 && errno == EAGAIN) {
      return;
    } else {
      lose_server();
      return;
    }
    while (true) {
      auto frame = take_frame(buffer_, max_server_frame(num_ranks_));
      if (!frame.ok()) {
        distrust_server(frame.status().message());
        return;
      }
      if (!*frame) break;
      handle(**frame);
    }
  }
}

void Membership::handle(std::span<const std::byte> frame) {
  auto message = read_server_message(frame, num_ranks_);
  if (!message) {
    distrust_server("a frame that cannot be read");
  } else if (auto* gathered = std::get_if<GatheredBlobs>(&*message)) {
    gathered_ = std::move(gathered->blobs);
  } else if (auto* verdict = std::get_if<Verdict>(&*message)) {
    if (!verdict_) verdict_ = std::move(verdict->failure);
  } else {
    closing_ = true;
  }
}

void Membership::lose_server() {
  if (verdict_ || closing_) return;
  lost_host_ = true;
  verdict_ = Failure{Status(Code::kRemoteError, cat("rank ", host_rank_,
                                                    ", which hosts the rendezvous, died: its "
                                                    "control connection closed")),
                     host_rank_};
}

void Membership::distrust_server(const std::string& why) {
  if (verdict_ || closing_) return;
  const std::string host = cat("rank ", host_rank_, ", which hosts it,");
  verdict_ = Failure{Status(Code::kInternalError, broke_protocol(host, why)), host_rank_};
}

void Membership::leave() {
  if (left_) return;
  left_ = true;
  (void)send({std::string(1, kLeave)});
  if (server_ != nullptr) server_->stop();
  std::scoped_lock lock(send_mutex_, receive_mutex_);
  fd_.reset();
}

}  // namespace hfr
