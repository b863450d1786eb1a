#include "transport/loopback/setup.hpp"

#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "base/cancel.hpp"
#include "base/net.hpp"
#include "base/text.hpp"

namespace hfr::loopback {
namespace {

constexpr uint64_t kLookNs = 50'000'000;  // how often a waiting rank looks whether it was cancelled

using Pair = std::pair<uint64_t, uint64_t>;  // place numbers, the lower first

// Where the two sides of a pair come together.
class MeetingPoint {
 public:
  // The first to come leaves a connection for the second.
  std::shared_ptr<Connection> come(const Pair& pair, int side,
                                   const std::shared_ptr<Doorbell>& doorbell) {
    std::lock_guard lock(mutex_);
    std::shared_ptr<Connection>& connection = waiting_[pair];
    if (connection == nullptr) connection = std::make_shared<Connection>();
    connection->side[side].doorbell = doorbell;
    changed_.notify_all();
    return connection;
  }

  // Both are there.
  bool wait_for(const Pair& pair, const Connection& connection, uint64_t timeout_ns) {
    std::unique_lock lock(mutex_);
    auto both = [&] { return connection.side[0].doorbell && connection.side[1].doorbell; };
    if (!changed_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), both)) return false;
    waiting_.erase(pair);
    return true;
  }

  void leave(const Pair& pair) {
    std::lock_guard lock(mutex_);
    waiting_.erase(pair);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Pair, std::shared_ptr<Connection>> waiting_;
};

MeetingPoint& meeting_point() {
  static MeetingPoint point;
  return point;
}

Result<uint64_t> parse_place(int peer, const std::vector<std::byte>& address) {
  std::string at(reinterpret_cast<const char*>(address.data()), address.size());
  long pid = 0;
  uint64_t number = 0;
  if (std::sscanf(at.c_str(), "loopback:%ld:%" SCNu64, &pid, &number) != 2) {
    return Status(Code::kInternalError,
                  cat("rank ", peer, " published no loopback address: '", at, "'"));
  }
  if (pid != getpid()) {
    return Status(Code::kMismatch,
                  cat("rank ", peer, " is in process ", pid, ", this one in ", getpid(),
                      ": the loopback transport joins threads of one "
                      "process; use HFREDUCE_TRANSPORT=tcp"));
  }
  return number;
}

Status wait_for_peer(int rank, int peer, const Pair& pair, const Connection& connection,
                     uint64_t deadline_ns) {
  while (!meeting_point().wait_for(pair, connection, kLookNs)) {
    if (CancelScope::cancelled()) return Status(Code::kAborted, "connecting nodes: cancelled");
    if (monotonic_ns() >= deadline_ns) {
      return Status(Code::kTimeout,
                    cat("rank ", rank, " waited for rank ", peer, " until the deadline"));
    }
  }
  return Status();
}

}  // namespace

Place open_place() {
  static std::atomic<uint64_t> next{1};
  return {next.fetch_add(1), std::make_shared<Doorbell>()};
}

std::string text(const Place& place) { return cat("loopback:", getpid(), ":", place.number); }

Result<std::vector<Met>> meet_peers(int rank, const Place& mine, std::span<const int> peers,
                                    std::span<const std::vector<std::byte>> addresses,
                                    uint64_t deadline_ns) {
  std::vector<Met> met;
  std::vector<Pair> pairs;
  for (size_t i = 0; i < peers.size(); ++i) {
    HFR_ASSIGN_OR_RETURN(uint64_t theirs, parse_place(peers[i], addresses[i]));
    pairs.push_back(std::minmax(mine.number, theirs));
    met.push_back({nullptr, mine.number < theirs ? 0 : 1});
  }
  for (size_t i = 0; i < peers.size(); ++i) {
    met[i].connection = meeting_point().come(pairs[i], met[i].side, mine.doorbell);
  }
  for (size_t i = 0; i < peers.size(); ++i) {
    Status status = wait_for_peer(rank, peers[i], pairs[i], *met[i].connection, deadline_ns);
    if (status.ok()) continue;
    for (const Pair& pair : pairs) meeting_point().leave(pair);
    return status;
  }
  return met;
}

}  // namespace hfr::loopback
