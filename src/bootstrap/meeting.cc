#include "bootstrap/meeting.hpp"

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
enum class Answer { kDecided, kNobody, kAgain };

// The asking side: one rank that is not the lowest.
class Asker {
 public:
  Asker(Line& line, const MeetingRequest& request) : line_(line), request_(request) {}

  // kDecided: connection() leads to the convener. kNobody: the rank is gone, or silent for half of
  // the time that is left. kAgain: the line moved on, or the convener's connection broke.
  Result<Answer> ask(int rank) {
    if (CancelScope::cancelled()) return Status(Code::kAborted, "shrinking: cancelled");
    const uint64_t now = monotonic_ns();
    const uint64_t left = request_.deadline_ns > now ? request_.deadline_ns - now : 0;
    const uint64_t patience_ns = now + left / 2;
    const std::string& host = line_.point->address.host;
    while (true) {
      auto fd = connect_once(line_.addresses[static_cast<size_t>(rank)], host, patience_ns);
      if (!fd.ok() || !*fd) return Answer::kNobody;
      SecretHandshake handshake(line_.secret, kPurpose, line_.self);
      auto proven = handshake.run((*fd)->get(), Handshake::Side::kConnecting, patience_ns);
      if (proven.ok() && *proven == rank) return hear(rank, std::move(**fd));
      // Closed: it was convening and has just ended, or it is gone.
      if (monotonic_ns() + kAgainMs * kMillisecond >= patience_ns) return Answer::kNobody;
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
    const std::string what = cat("shrinking: hearing from the rank at ",
                                 text(line_.addresses[static_cast<size_t>(rank)]), " who is left");
    const uint64_t now = monotonic_ns();
    const uint64_t left_ms =
        request_.deadline_ns > now ? (request_.deadline_ns - now) / kMillisecond : 0;
    const uint64_t until = request_.deadline_ns + kConvenerGraceNs;
    Status sent = send_frame(fd.get(),
                             pack({std::string(1, kCome), line_.id, cat(left_ms),
                                   encode(request_.excluded), encode(line_.history)}),
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
  UniqueFd connection_;
};

}  // namespace

Result<Gathered> meet(Line& line, const MeetingRequest& request) {
  Asker asker(line, request);
  while (true) {
    const std::vector<int> members = line.members;
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
    }
    if (again) continue;
    HFR_ASSIGN_OR_RETURN(std::optional<Gathered> gathered, convene(line, request));
    if (gathered) return std::move(*gathered);
  }
}

}  // namespace hfr
