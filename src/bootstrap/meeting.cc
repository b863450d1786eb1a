#include "bootstrap/meeting.hpp"

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/text.hpp"
#include "bootstrap/convener.hpp"
#include "bootstrap/meeting_messages.hpp"

namespace hfr {
namespace {

using namespace meeting;

constexpr uint64_t kMillisecond = 1'000'000;
// The convener's word at the deadline takes this long to arrive at most.
constexpr uint64_t kConvenerGraceNs = 1'000 * kMillisecond;
constexpr long kAgainMs = 5;

// What came of asking a lower rank.
enum class Answer { kDecided, kGone, kSilent, kAgain };

// The asking side: one rank that is not the lowest.
class Asker {
 public:
  Asker(Line& line, const MeetingRequest& request) : line_(line), request_(request) {}

  // kDecided: connection() leads to the convener. kSilent: for half of the time that is left, or,
  // where all are needed, all of it. kAgain: the line moved on, or the convener's connection broke.
  Result<Answer> ask(int rank) {
    const uint64_t now = monotonic_ns();
    const uint64_t left = request_.deadline_ns > now ? request_.deadline_ns - now : 0;
    const uint64_t patience_ns =
        request_.purpose == MeetingPurpose::kShrink ? now + left / 2 : request_.deadline_ns;
    const std::string& host = line_.point->address.host;
    while (true) {
      if (CancelScope::cancelled()) return Status(Code::kAborted, cat(deed_, ": cancelled"));
      auto fd = connect_once(line_.addresses[static_cast<size_t>(rank)], host, patience_ns);
      if (fd.ok() && !*fd) return Answer::kGone;
      if (fd.ok()) {
        SecretHandshake handshake(line_.secret, kPurpose, line_.self);
        auto proven = handshake.run((*fd)->get(), Handshake::Side::kConnecting, patience_ns);
        if (proven.ok() && *proven == rank) return hear(rank, std::move(**fd));
      } else if (request_.purpose == MeetingPurpose::kShrink) {
        return Answer::kSilent;  // it cannot be reached
      }
      // Closed: it was convening and has just ended, or it is gone.
      if (monotonic_ns() + kAgainMs * kMillisecond >= patience_ns) return Answer::kSilent;
      pause();
    }
  }

  UniqueFd connection() { return std::move(connection_); }

 private:
  static void pause() {
    timespec span{0, kAgainMs * static_cast<long>(kMillisecond)};
    nanosleep(&span, nullptr);
  }

  Result<Answer> hear(int rank, UniqueFd fd) {
    const std::string what = cat(deed_, ": hearing from the rank at ",
                                 text(line_.addresses[static_cast<size_t>(rank)]), " who is left");
    const uint64_t now = monotonic_ns();
    const uint64_t left_ms =
        request_.deadline_ns > now ? (request_.deadline_ns - now) / kMillisecond : 0;
    const uint64_t until = request_.deadline_ns + kConvenerGraceNs;
    Status sent = send_frame(
        fd.get(),
        pack({std::string(1, kCome), line_.id, cat(left_ms), encode(request_.excluded),
              encode(line_.history), std::string(1, static_cast<char>(request_.purpose))}),
        until, what);
    if (!sent.ok()) return failed_to_hear(sent);
    auto frame = recv_frame(fd.get(), kMaxFrame, until, what);
    if (!frame.ok()) return failed_to_hear(frame.status());
    if (frame->size() >= 5) {
      const auto kind = static_cast<char>((*frame)[4]);
      if (kind == kRefused) {
        if (auto fields = unpack(*frame, 3)) {
          const auto code = parse_whole<int>((*fields)[1]);
          if (code && is_failure_code(*code)) {
            return Status(static_cast<Code>(*code), (*fields)[2]);
          }
        }
      } else if (auto fields = unpack(*frame, 2)) {
        auto decisions = decode_decisions((*fields)[1]);
        if (decisions && (kind == kDecided || kind == kNews)) {
          HFR_RETURN_IF_ERROR(line_.follow(*decisions));
          if (kind == kNews) return Answer::kAgain;
          connection_ = std::move(fd);
          return Answer::kDecided;
        }
      }
    }
    return Status(Code::kInternalError, cat(what, ": a frame that cannot be read"));
  }

  // A convener that dies leaves its place to the next one.
  Result<Answer> failed_to_hear(const Status& why) {
    if (why.code() != Code::kRemoteError) return why;
    pause();
    return Answer::kAgain;
  }

  Line& line_;
  const MeetingRequest& request_;
  const std::string deed_ = deed(request_.purpose);
  UniqueFd connection_;
};

}  // namespace

Status has_ended(const std::string& ranks) {
  return Status(Code::kRemoteError,
                cat("resuming: rank ", ranks,
                    " has ended; the ranks that are left can call hfr_comm_shrink"));
}

Status did_not_come(const std::string& ranks) {
  return Status(Code::kTimeout, cat("resuming: rank ", ranks, " did not come before the deadline"));
}

int rank_name(const MeetingRequest& request, int member) {
  const std::vector<int>& callers = request.callers;
  return static_cast<int>(std::find(callers.begin(), callers.end(), member) - callers.begin());
}

Result<Gathered> meet(Line& line, const MeetingRequest& request) {
  Asker asker(line, request);
  while (true) {
    const std::vector<int> members = line.members;
    if (request.purpose == MeetingPurpose::kResume && members != request.callers) {
      return Status(Code::kRemoteError,
                    "resuming: a shrink of this communicator was begun; call hfr_comm_shrink");
    }
    bool again = false;
    for (int rank : members) {
      if (rank == line.self) break;
      if (request.excluded.count(rank) > 0) continue;
      HFR_ASSIGN_OR_RETURN(Answer answer, asker.ask(rank));
      if (answer == Answer::kDecided) {
        Gathered gathered;
        gathered.connection = asker.connection();
        gathered.local_host = line.point->address.host;
        return gathered;
      }
      again = answer == Answer::kAgain;
      if (again) break;
      if (request.purpose == MeetingPurpose::kResume) {
        // The one whom the others come to.
        const std::string name = cat(rank_name(request, rank));
        return answer == Answer::kGone ? has_ended(name) : did_not_come(name);
      }
    }
    if (again) continue;
    HFR_ASSIGN_OR_RETURN(std::optional<Gathered> gathered, convene(line, request));
    if (gathered) return std::move(*gathered);
  }
}

}  // namespace hfr
