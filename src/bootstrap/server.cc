#include "bootstrap/server.hpp"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <optional>
#include <vector>

#include "base/pack.hpp"
#include "base/private_fd.hpp"
#include "base/stalls.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"
#include "bootstrap/messages.hpp"
#include "bootstrap/proven_stream.hpp"

namespace hfr {
namespace {

using namespace rendezvous;

constexpr uint64_t kMillisecond = 1'000'000;
// A stranger may take this long to prove membership, and this many may try at once beyond the
// ranks.
constexpr uint64_t kProofNs = 5'000 * kMillisecond;
constexpr size_t kMaxStrangers = 64;
// Accepting waits so long after it failed for want of descriptors or memory. Who connects meanwhile
// waits in the listener's queue.
constexpr uint64_t kAcceptAgainNs = 100 * kMillisecond;
// How long a leaving server hands out what is unsent, and how long it tells ranks that are still
// joining why there is nothing to join any more.
constexpr uint64_t kFlushNs = 300 * kMillisecond;
constexpr uint64_t kLateJoinNs = 1'500 * kMillisecond;
constexpr size_t kMostNamed = 16;  // ranks in a sentence

std::string member_name(int rank, const std::string& label) {
  return label.empty() ? cat("rank ", rank) : cat("rank ", rank, " (", label, ")");
}

// "2 and 5", "1, 2 and 7"
std::string list(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  return text;
}

// The settings that differ, as "window=4" against "window=8".
std::pair<std::string, std::string> difference(const std::string& a, const std::string& b) {
  auto split = [](const std::string& text) {
    std::vector<std::string> parts;
    size_t from = 0;
    while (from <= text.size()) {
      size_t to = std::min(text.find(';', from), text.size());
      parts.push_back(text.substr(from, to - from));
      from = to + 1;
    }
    return parts;
  };
  std::vector<std::string> left = split(a);
  std::vector<std::string> right = split(b);
  std::string only_left, only_right;
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    std::string l = i < left.size() ? left[i] : "";
    std::string r = i < right.size() ? right[i] : "";
    if (l == r) continue;
    only_left += (only_left.empty() ? "" : " ") + l;
    only_right += (only_right.empty() ? "" : " ") + r;
  }
  return {only_left, only_right};
}

struct Connection {
  explicit Connection(ProvenStream from) : stream(std::move(from)) {}
  ProvenStream stream;
  int expected = -1;  // who must join here
  int rank = -1;      // once joined
  bool dropped = false;
};

class Loop {
 public:
  Loop(UniqueFd listener, int wake, const std::atomic<record::Ends*>& ends, ServerOptions options)
      : listener_(std::move(listener)), wake_(wake), ends_(ends), options_(std::move(options)) {
    auto n = static_cast<size_t>(options_.num_ranks);
    member_of_.assign(n, nullptr);
    joined_.resize(n);
    left_.assign(n, false);
    blobs_.resize(n);
    gather_deadline_ns_ = options_.deadline_ns;
    begin_waiting();
    int rank = 0;
    for (ProvenStream& stream : options_.members) {
      connections_.push_back(std::make_unique<Connection>(std::move(stream)));
      connections_.back()->expected = rank++;
    }
  }

  void run() {
    while (!stopping_) turn();
    broadcast({std::string(1, kClosing)});
    const uint64_t left = monotonic_ns();
    auto within = [left](uint64_t duration) { return monotonic_ns() < left + duration; };
    while ((anything_unsent() && within(kFlushNs)) || (somebody_is_late() && within(kLateJoinNs))) {
      turn();
    }
  }

 private:
  bool anything_unsent() const {
    return std::any_of(connections_.begin(), connections_.end(),
                       [](const auto& c) { return c->stream.unsent(); });
  }

  // Who did not come before the deadline is not waited for.
  bool somebody_is_late() const {
    return failure_ && num_joined_ + num_refused_ < options_.num_ranks &&
           monotonic_ns() < options_.deadline_ns;
  }

  void turn() {
    // poll() leaves a negative descriptor out: what cannot be accepted would wake it for nothing.
    const bool accepts = has_room() && monotonic_ns() >= accept_again_ns_;
    std::vector<pollfd> entries = {{wake_, POLLIN, 0}, {accepts ? listener_.get() : -1, POLLIN, 0}};
    for (const auto& c : connections_) {
      entries.push_back({c->stream.fd(), c->stream.wanted_events(), 0});
    }
    int ready = poll_all(entries, 50);
    if (ready < 0 && errno != EINTR) return;
    looked_ns_ = monotonic_ns();
    if (entries[0].revents != 0) stopping_ = true;
    for (size_t i = 0; i < connections_.size(); ++i) {
      if (entries[i + 2].revents != 0) serve(*connections_[i]);
    }
    if (entries[1].revents != 0 && listener_.valid()) accept_all();
    std::erase_if(connections_, [](const auto& c) { return !c->stream.open(); });
    look_at_clock(monotonic_ns());
  }

  bool has_room() const {
    return connections_.size() < static_cast<size_t>(options_.num_ranks) + kMaxStrangers;
  }

  void accept_all() {
    while (has_room()) {
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
          accept_again_ns_ = monotonic_ns() + kAcceptAgainNs;
          why_not_accepted_ = system_error("accepting a connection", errno).message();
        }
        return;
      }
      connections_.push_back(std::make_unique<Connection>(
          ProvenStream(std::move(fd), options_.key, options_.host_rank)));
    }
  }

  void serve(Connection& c) {
    c.stream.flush();
    while (c.stream.receive()) digest(c);
    if (!c.stream.open()) lose(c);
  }

  void digest(Connection& c) {
    while (c.stream.open()) {
      auto frame = c.stream.next_frame(kMaxMemberFrame);
      if (!frame.ok()) return drop(c, frame.status().message());
      if (!*frame) return;
      handle(c, read_member_message(**frame));
    }
  }

  // A connection that breaks the rules: a stranger's is only closed, a member's is the job's
  // failure.
  void drop(Connection& c, const std::string& why) {
    options_.logger.log(LogLevel::kWarn, "rendezvous refused a connection: ", why);
    const int rank = member(c);
    if (rank >= 0 && !left_[static_cast<size_t>(rank)]) {
      fail(Code::kInternalError, rank,
           broke_protocol(member_name(rank, label(rank)), cat(why, where())));
      if (c.rank < 0) c.stream.send(*failure_);
    }
    c.dropped = true;
    c.stream.close();
  }

  // Whose connection it is; -1: a stranger's.
  static int member(const Connection& c) { return c.rank < 0 ? c.expected : c.rank; }

  // What is known of a connection that was closed.
  void lose(Connection& c) {
    const int rank = member(c);
    if (rank < 0) return;
    if (c.rank < 0) ++num_refused_;  // it will not be late
    member_of_[static_cast<size_t>(rank)] = nullptr;
    if (left_[static_cast<size_t>(rank)] || c.dropped) return;
    record_end(rank);
    fail(Code::kRemoteError, rank,
         cat(member_name(rank, label(rank)), " died: its control connection closed", where()));
  }

  void record_end(int rank) {
    record::Ends* ends = ends_.load(std::memory_order_acquire);
    if (ends == nullptr || num_ends_ == record::kMostEnds) return;
    ends->list[num_ends_].rank_plus_one.store(static_cast<uint64_t>(rank) + 1);
    ends->list[num_ends_].at_ns.store(looked_ns_);
    ends->num.store(++num_ends_, std::memory_order_release);
  }

  std::string where() const {
    if (num_joined_ < options_.num_ranks) return " while ranks were joining";
    return setting_up() ? cat(" during set-up (", stage_, ")") : "";
  }
  bool setting_up() const { return gathering_ && !stage_.empty(); }
  std::string label(int rank) const {
    const auto& joined = joined_[static_cast<size_t>(rank)];
    return joined ? joined->label : "";
  }

  void handle(Connection& c, std::optional<MemberMessage> message) {
    if (c.rank < 0 && (!message || !std::holds_alternative<Join>(*message))) {
      // Whom we refused may not have heard of it yet.
      if (!failure_) drop(c, "a member spoke before it joined");
      return;
    }
    if (!message) return drop(c, "a frame that cannot be read");
    if (auto* joining = std::get_if<Join>(&*message)) {
      join(c, *joining);
    } else if (auto* gathering = std::get_if<Gather>(&*message)) {
      gather(c, *gathering);
    } else if (auto* report = std::get_if<Report>(&*message)) {
      fail(report->failure.status.code(), report->failure.rank, report->failure.status.message());
    } else if (auto* stalling = std::get_if<Stall>(&*message)) {
      stalling->report.wait.from = c.rank;
      stall(std::move(stalling->report));
    } else {
      left_[static_cast<size_t>(c.rank)] = true;
    }
  }

  void join(Connection& c, const Join& mine) {
    const int rank = mine.rank;
    if (c.rank >= 0) return drop(c, "a member joined twice");
    if (c.expected >= 0 && c.expected != rank) return drop(c, "a member joined as another");
    auto tell = [&] {
      ++num_refused_;
      c.stream.send(*failure_);
    };
    if (failure_) return tell();
    auto refuse = [&](const std::string& sentence) {
      fail(Code::kMismatch, rank, sentence);
      tell();
    };
    if (rank < 0 || rank >= options_.num_ranks) {
      return refuse(cat("rank ", rank, " joined with num_ranks ", mine.num_ranks, "; rank ",
                        options_.host_rank, " joined with num_ranks ", options_.num_ranks));
    }
    std::optional<Join>& slot = joined_[static_cast<size_t>(rank)];
    if (slot) {
      return refuse(cat("two processes joined as rank ", rank, ": ", member_name(rank, slot->label),
                        " and ", member_name(rank, mine.label)));
    }
    for (int other = 0; other < options_.num_ranks; ++other) {
      if (!joined_[static_cast<size_t>(other)]) continue;
      const Join& theirs = *joined_[static_cast<size_t>(other)];
      auto both = [&](const char* what, const std::string& a, const std::string& b) {
        return cat(member_name(rank, mine.label), " has ", what, a, "; ",
                   member_name(other, theirs.label), " has ", what, b);
      };
      if (theirs.num_ranks != mine.num_ranks) {
        return refuse(both("num_ranks ", mine.num_ranks, theirs.num_ranks));
      }
      if (theirs.version != mine.version) {
        return refuse(both("protocol version ", mine.version, theirs.version));
      }
      if (theirs.settings != mine.settings) {
        auto [a, b] = difference(mine.settings, theirs.settings);
        return refuse(both("", a, b) + "; these settings must be the same on all ranks");
      }
      break;  // all that are here agree with each other
    }
    slot = mine;
    c.rank = rank;
    member_of_[static_cast<size_t>(rank)] = &c;
    // Before anybody hears that all are there: who comes to this address from now on wants the next
    // rendezvous.
    if (++num_joined_ == options_.num_ranks) listener_.reset();
  }

  void gather(Connection& c, Gather& message) {
    // All members have been told of it, and none may come through what the others fail in.
    if (failure_) return;
    if (!gathering_) {
      gathering_ = true;
      num_blobs_ = 0;
      for (auto& blob : blobs_) blob.reset();
      gather_deadline_ns_ = monotonic_ns() + message.left_ms * kMillisecond;
      begin_waiting();
    }
    stage_ = message.stage;
    auto& blob = blobs_[static_cast<size_t>(c.rank)];
    if (blob) return drop(c, "a member gathered twice");
    blob = std::move(message.blob);
    if (++num_blobs_ < options_.num_ranks) return;
    gathering_ = false;
    std::vector<std::string> all;
    for (auto& b : blobs_) all.push_back(std::move(*b));
    std::vector<std::byte> packed = pack(all);
    broadcast({std::string(1, kGathered),
               std::string(reinterpret_cast<const char*>(packed.data()), packed.size())});
  }

  void stall(StallReport report) {
    if (failure_) return;
    if (stalls_.empty()) stall_deadline_ns_ = monotonic_ns() + kStallCollectNs;
    stalls_.push_back(std::move(report));
    auto alive =
        std::count_if(member_of_.begin(), member_of_.end(), [](auto* c) { return c != nullptr; });
    if (static_cast<std::ptrdiff_t>(stalls_.size()) >= alive) resolve_stall();
  }

  void resolve_stall() {
    const StallReport& cause = find_cause(stalls_);
    fail(cause.status.code(), cause.wait.to, cause.status.message());
  }

  void look_at_clock(uint64_t now) {
    for (const auto& c : connections_) {
      const bool stranger = c->rank < 0 && c->expected < 0 && c->stream.open();
      if (stranger && now > c->stream.since_ns() + kProofNs && !failure_) {
        drop(*c, "no proof of membership in time");
      }
    }
    if (failure_) return;
    if (!stalls_.empty() && now > stall_deadline_ns_) resolve_stall();
    if (failure_) return;
    const bool joining = num_joined_ < options_.num_ranks;
    if (!joining && !gathering_) return;
    if (now > (joining ? options_.deadline_ns : gather_deadline_ns_)) {
      const auto [first, missing] = late("before the deadline");
      const bool refused = joining && !why_not_accepted_.empty();
      fail(Code::kTimeout, first,
           cat(missing,
               refused ? cat("; rank ", options_.host_rank, " could not let everybody in: ") : "",
               refused ? why_not_accepted_ : ""));
    } else if (now > tell_late_ns_) {
      const uint64_t waited_ns = tell_late_ns_ - waiting_since_ns_;
      tell_late_ns_ += waited_ns;
      options_.logger.log(LogLevel::kWarn, "ranks have waited for ",
                          static_cast<double>(waited_ns) / 1e9, " s: ", late("yet").second);
    }
  }

  void begin_waiting() {
    waiting_since_ns_ = monotonic_ns();
    tell_late_ns_ = waiting_since_ns_ + options_.tell_late_ns;
  }

  // Who did not come where others wait, and the first of them.
  std::pair<int, std::string> late(const char* when) const {
    if (num_joined_ < options_.num_ranks) {
      auto missing = absent([&](int rank) { return !joined_[static_cast<size_t>(rank)]; });
      return {missing.first, cat(missing.second, " did not join ", when)};
    }
    auto missing = absent([&](int rank) { return !blobs_[static_cast<size_t>(rank)]; });
    return {missing.first, cat(missing.second, " did not come to this stage ", when, ": ", stage_)};
  }

  template <typename Absent>
  std::pair<int, std::string> absent(Absent&& is_absent) const {
    int first = -1;
    std::vector<std::string> names;
    int others = 0;
    for (int rank = 0; rank < options_.num_ranks; ++rank) {
      if (!is_absent(rank)) continue;
      if (first < 0) first = rank;
      if (names.size() < kMostNamed) {
        names.push_back(member_name(rank, label(rank)));
      } else {
        ++others;
      }
    }
    if (others > 0) names.push_back(cat(others, others == 1 ? " other" : " others"));
    return {first, list(names)};
  }

  void fail(Code code, int culprit, const std::string& sentence) {
    if (failure_) return;
    std::vector<std::byte> frame =
        framed({std::string(1, kFailure), cat(static_cast<int>(code)), cat(culprit), sentence});
    failure_ = frame;
    for (auto* c : member_of_) {
      if (c != nullptr) c->stream.send(frame);
    }
  }

  void broadcast(const std::vector<std::string>& fields) {
    std::vector<std::byte> frame = framed(fields);
    for (auto* c : member_of_) {
      if (c != nullptr && !left_[static_cast<size_t>(c->rank)]) c->stream.send(frame);
    }
  }

  PrivateFd listener_;  // until all have joined
  const int wake_;
  const std::atomic<record::Ends*>& ends_;
  size_t num_ends_ = 0;     // that are there
  uint64_t looked_ns_ = 0;  // at the connections
  uint64_t accept_again_ns_ = 0;
  ServerOptions options_;
  bool stopping_ = false;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> member_of_;  // by rank; null when not there
  std::vector<std::optional<Join>> joined_;
  std::vector<bool> left_;
  int num_joined_ = 0;
  int num_refused_ = 0;
  std::string why_not_accepted_;  // what was wrong last, while ranks were joining

  bool gathering_ = false;
  std::string stage_;
  uint64_t gather_deadline_ns_ = 0;
  uint64_t waiting_since_ns_ = 0;  // for who has not joined, or not come to the stage
  uint64_t tell_late_ns_ = 0;      // the log hears of it then
  std::vector<std::optional<std::string>> blobs_;
  int num_blobs_ = 0;

  std::vector<StallReport> stalls_;
  uint64_t stall_deadline_ns_ = 0;
  std::optional<std::vector<std::byte>> failure_;  // the frame that tells of it
};

}  // namespace

Result<std::unique_ptr<RendezvousServer>> RendezvousServer::start(UniqueFd listener,
                                                                  ServerOptions options) {
  UniqueFd wake(eventfd(0, EFD_CLOEXEC));
  if (!wake.valid()) return system_error("eventfd", errno);
  std::unique_ptr<RendezvousServer> server(new RendezvousServer());
  auto loop =
      std::make_unique<Loop>(std::move(listener), wake.get(), server->ends_, std::move(options));
  server->wake_ = std::move(wake);
  HFR_ASSIGN_OR_RETURN(server->thread_,
                       start_thread("for the rendezvous", [loop = std::move(loop)]() mutable {
                         try {
                           loop->run();
                         } catch (const std::exception&) {
                           // Out of memory. Members learn of it as their connections close.
                         }
                         loop.reset();
                       }));
  return server;
}

RendezvousServer::~RendezvousServer() { stop(); }

void RendezvousServer::record_ends(record::Ends& ends) {
  ends.watched.store(1);
  ends_.store(&ends, std::memory_order_release);
}

void RendezvousServer::stop() {
  if (!thread_.joinable()) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

}  // namespace hfr
