#include "bootstrap/convener.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/text.hpp"
#include "bootstrap/meeting_messages.hpp"
#include "bootstrap/messages.hpp"
#include "bootstrap/proven_stream.hpp"

namespace hfr {
namespace {

using namespace meeting;

constexpr uint64_t kMillisecond = 1'000'000;
constexpr size_t kMaxStrangers = 64;
constexpr uint64_t kAcceptAgainNs = 100 * kMillisecond;  // after the system refused to
constexpr int kTurnMs = 20;
constexpr uint64_t kProofNs = 5'000 * kMillisecond;
constexpr uint64_t kProbeAgainNs = 20 * kMillisecond;

// Somebody at the door.
struct Guest {
  explicit Guest(ProvenStream from) : stream(std::move(from)) {}
  ProvenStream stream;
  int rank = -1;  // once it came: in the first communicator
};

// A look whether a member that has not come is gone: a connection that says nothing. Its end is
// followed by another attempt, which a machine refuses where nobody listens any more.
struct Probe {
  std::optional<ConnectAttempt> attempt;
  UniqueFd held;
  uint64_t next_ns = 0;
  bool gone = false;
};

class Convener {
 public:
  Convener(Line& line, const MeetingRequest& request)
      : line_(line),
        request_(request),
        key_(line.secret.derive(kPurpose)),
        excluded_(request.excluded),
        deadline_ns_(request.deadline_ns) {
    for (int rank : request.callers) {
      if (rank != line.self) probes_[rank];
    }
  }

  Result<std::optional<Gathered>> run() {
    while (true) {
      if (CancelScope::cancelled()) return tell(cancelled());
      turn();
      if (news_) {
        HFR_RETURN_IF_ERROR(line_.follow(*news_));
        return std::optional<Gathered>();
      }
      if (request_.purpose == MeetingPurpose::kResume) {
        Status hopeless = why_not_all();
        if (!hopeless.ok()) return tell(hopeless);
        if (!all_came()) continue;
      } else {
        const bool may = may_go_on(standings());
        if (!(may && all_accounted_for()) && monotonic_ns() < deadline_ns_) continue;
        if (!may) return tell(too_few());
      }
      HFR_ASSIGN_OR_RETURN(Gathered gathered, decide());
      return std::optional<Gathered>(std::move(gathered));
    }
  }

 private:
  Guest* guest_of(int member) {
    for (auto& guest : guests_) {
      if (guest->rank == member && guest->stream.open()) return guest.get();
    }
    return nullptr;
  }

  Standing standing(int member) {
    if (member == line_.self || guest_of(member) != nullptr) return Standing::kCame;
    return probes_[member].gone ? Standing::kGone : Standing::kSilent;
  }

  // Of those who are not members any more, too: they can be gone, but not come.
  std::vector<Standing> standings() {
    std::vector<Standing> found;
    for (int rank : request_.callers) {
      if (excluded_.count(rank) == 0) found.push_back(standing(rank));
    }
    return found;
  }

  bool all_accounted_for() {
    return std::all_of(line_.members.begin(), line_.members.end(), [&](int member) {
      return excluded_.count(member) > 0 || standing(member) != Standing::kSilent;
    });
  }

  bool all_came() {
    return std::all_of(line_.members.begin(), line_.members.end(),
                       [&](int member) { return standing(member) == Standing::kCame; });
  }

  // Where all are needed. Ok while they may still come; and while others may: who is gone is told
  // to all who live.
  Status why_not_all() {
    if (shrinks_) {
      return Status(Code::kRemoteError, cat("resuming: rank ", rank_name(request_, *shrinks_),
                                            " called hfr_comm_shrink; call it here, too"));
    }
    const std::string gone = names(Standing::kGone);
    const std::string silent = names(Standing::kSilent);
    if (!silent.empty() && monotonic_ns() < deadline_ns_) return Status();
    if (!gone.empty()) return has_ended(gone);
    return silent.empty() ? Status() : did_not_come(silent);
  }

  void turn() {
    look_for_the_absent();
    // poll() leaves a negative descriptor out: what cannot be accepted would wake it for nothing.
    const bool accepts = room_for_strangers() && monotonic_ns() >= accept_again_ns_;
    std::vector<pollfd> entries = {{accepts ? line_.point->listener.get() : -1, POLLIN, 0}};
    for (const auto& [member, probe] : probes_) {
      if (probe.attempt) entries.push_back({probe.attempt->fd(), POLLOUT, 0});
      if (probe.held.valid()) entries.push_back({probe.held.get(), POLLIN, 0});
    }
    for (const auto& guest : guests_) {
      entries.push_back({guest->stream.fd(), guest->stream.wanted_events(), 0});
    }
    if (poll_all(entries, kTurnMs) < 0) return;
    size_t at = 1;
    for (auto& [member, probe] : probes_) {
      const bool connecting = probe.attempt.has_value();
      if (!connecting && !probe.held.valid()) continue;
      if (entries[at++].revents != 0) connecting ? end_attempt(probe) : end_held(probe);
    }
    for (auto& guest : guests_) {
      if (entries[at++].revents != 0 && guest->stream.open()) serve(*guest);
    }
    const uint64_t now = monotonic_ns();
    std::erase_if(guests_, [&](const auto& guest) {
      return !guest->stream.open() ||
             (guest->rank < 0 && now > guest->stream.since_ns() + kProofNs);
    });
    if (entries[0].revents != 0) accept_all();
  }

  void look_for_the_absent() {
    const uint64_t now = monotonic_ns();
    for (auto& [member, probe] : probes_) {
      const bool absent = excluded_.count(member) == 0 && guest_of(member) == nullptr;
      if (!absent || probe.gone || probe.attempt || probe.held.valid() || now < probe.next_ns) {
        continue;
      }
      auto attempt = ConnectAttempt::begin(line_.addresses[static_cast<size_t>(member)],
                                           line_.point->address.host);
      probe.next_ns = now + kProbeAgainNs;
      if (attempt.ok()) probe.attempt.emplace(std::move(*attempt));
    }
  }

  static void end_attempt(Probe& probe) {
    const int error = probe.attempt->error();
    if (error == 0) probe.held = probe.attempt->release();
    probe.gone = error == ECONNREFUSED;
    probe.attempt.reset();
  }

  static void end_held(Probe& probe) {
    std::byte rest{};
    ssize_t got = recv(probe.held.get(), &rest, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    probe.held.reset();
  }

  // Those who came do not count: strangers take no member's place.
  bool room_for_strangers() const {
    const auto strangers = std::count_if(guests_.begin(), guests_.end(),
                                         [](const auto& guest) { return guest->rank < 0; });
    return static_cast<size_t>(strangers) < line_.members.size() + kMaxStrangers;
  }

  void accept_all() {
    while (room_for_strangers()) {
      UniqueFd fd(
          accept4(line_.point->listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) {
        if (errno != EAGAIN) accept_again_ns_ = monotonic_ns() + kAcceptAgainNs;
        return;
      }
      guests_.push_back(std::make_unique<Guest>(ProvenStream(std::move(fd), key_, line_.self)));
    }
  }

  void serve(Guest& guest) {
    guest.stream.flush();
    while (guest.stream.receive()) {
      auto frame = guest.stream.next_frame(kMaxFrame);
      if (!frame.ok()) {
        request_.logger.log(LogLevel::kWarn,
                            "refused at the meeting point: ", frame.status().message());
        guest.stream.close();
      } else if (*frame) {
        if (!hear(guest, **frame)) guest.stream.close();
      }
    }
  }

  // False: not to be understood.
  bool hear(Guest& guest, std::span<const std::byte> frame) {
    if (guest.rank >= 0 || frame.size() < 5 || static_cast<char>(frame[4]) != kCome) return false;
    auto fields = unpack(frame, 6);
    if (!fields || (*fields)[5].size() != 1) return false;
    const auto purpose = static_cast<MeetingPurpose>((*fields)[5][0]);
    auto theirs = decode_decisions((*fields)[4]);
    auto excluded = decode_ranks((*fields)[3]);
    const auto left_ms = rendezvous::read_left_ms((*fields)[2]);
    if (!theirs || !excluded || !left_ms) return false;
    const std::string& their_id = (*fields)[1];
    if (auto news = since(*theirs, line_.id)) {
      news_ = std::move(news);
      return true;
    }
    auto missed = line_.since(their_id);
    if (!missed) {
      refuse(guest, Code::kRemoteError,
             cat("rank ", rank_name(request_, line_.self),
                 " went on without this rank, which came too late; it has to start anew"));
      return true;
    }
    if (!missed->empty()) {
      guest.stream.send(framed({std::string(1, kNews), encode(*missed)}));
      return true;
    }
    if (purpose != request_.purpose) return disagree(guest, purpose);
    come(guest, *left_ms, *excluded);
    return true;
  }

  // Who shrinks knows of something that keeps the others from resuming: they are to shrink, too.
  bool disagree(Guest& guest, MeetingPurpose purpose) {
    if (purpose == MeetingPurpose::kResume) {
      refuse(guest, Code::kRemoteError,
             cat("resuming: rank ", rank_name(request_, line_.self),
                 " called hfr_comm_shrink; call it here, too"));
      return true;
    }
    // It comes again, when this rank shrinks or is taken for silent.
    if (purpose == MeetingPurpose::kShrink) shrinks_ = guest.stream.peer_rank();
    return false;
  }

  void come(Guest& guest, uint64_t left_ms, const std::vector<int>& excluded) {
    const int rank = guest.stream.peer_rank();
    const bool member =
        std::find(line_.members.begin(), line_.members.end(), rank) != line_.members.end();
    excluded_.insert(excluded.begin(), excluded.end());
    for (auto& other : guests_) {
      if (other->rank >= 0 && excluded_.count(other->rank) > 0) turn_away(*other);
    }
    if (!member || excluded_.count(rank) > 0) return turn_away(guest);
    // It asks anew: it does not hear what the older connection is told.
    if (Guest* older = guest_of(rank)) {
      older->rank = -1;
      older->stream.close();
    }
    guest.rank = rank;
    probes_[rank] = Probe();
    deadline_ns_ = std::min(deadline_ns_, monotonic_ns() + left_ms * kMillisecond);
  }

  void turn_away(Guest& guest) {
    refuse(guest, Code::kInvalidUsage, "this rank is among those that a survivor excluded");
  }

  static void refuse(Guest& guest, Code code, const std::string& sentence) {
    guest.rank = -1;
    guest.stream.send(framed({std::string(1, kRefused), cat(static_cast<int>(code)), sentence}));
  }

  // Ranks of this standing, as the user calls them: "1, 3".
  std::string names(Standing standing_of) {
    std::string text;
    for (int member : request_.callers) {
      if (excluded_.count(member) > 0 || standing(member) != standing_of) continue;
      text += cat(text.empty() ? "" : ", ", rank_name(request_, member));
    }
    return text;
  }

  Status cancelled() const {
    return Status(Code::kAborted, cat(deed(request_.purpose), ": rank ",
                                      rank_name(request_, line_.self), " called hfr_comm_abort"));
  }

  Status too_few() {
    const std::vector<Standing> found = standings();
    return Status(
        Code::kTimeout,
        cat("shrinking: ", std::count(found.begin(), found.end(), Standing::kCame), " of ",
            request_.callers.size(), " ranks came, and nothing was heard of rank ",
            names(Standing::kSilent),
            ", which may live and be more: pass ranks that are known to be dead as excluded, or "
            "try again"));
  }

  // To those who came: it comes to nothing. An aborted shrink may go on without this rank, so of
  // that they hear nothing.
  Status tell(const Status& status) {
    if (status.code() == Code::kAborted && request_.purpose == MeetingPurpose::kShrink)
      return status;
    for (auto& guest : guests_) {
      if (guest->rank >= 0) refuse(*guest, status.code(), status.message());
    }
    return status;
  }

  Result<Gathered> decide() {
    std::array<int, 2> pair{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
      return system_error("socketpair", errno);
    }
    Gathered gathered;
    gathered.connection.reset(pair[0]);
    gathered.local_host = line_.point->address.host;
    std::set<int> left = {line_.self};
    for (const auto& guest : guests_) {
      if (guest->rank >= 0 && guest->stream.open()) left.insert(guest->rank);
    }
    const Decision decision = line_.decide(left);
    const std::vector<std::byte> word = framed({std::string(1, kDecided), encode(decision)});
    for (int member : decision.members) {
      if (member == line_.self) {
        gathered.members.emplace_back(UniqueFd(pair[1]));
        continue;
      }
      ProvenStream& stream = guest_of(member)->stream;
      stream.send(word);
      gathered.members.push_back(std::move(stream));
    }
    HFR_RETURN_IF_ERROR(line_.follow({&decision, 1}));
    return gathered;
  }

  Line& line_;
  const MeetingRequest& request_;
  const Secret key_;
  std::set<int> excluded_;
  uint64_t deadline_ns_;
  std::vector<std::unique_ptr<Guest>> guests_;
  uint64_t accept_again_ns_ = 0;
  std::map<int, Probe> probes_;  // by first rank
  std::optional<std::vector<Decision>> news_;
  std::optional<int> shrinks_;  // a member that came for that, when this one resumes
};

}  // namespace

Result<std::optional<Gathered>> convene(Line& line, const MeetingRequest& request) {
  return Convener(line, request).run();
}

}  // namespace hfr
