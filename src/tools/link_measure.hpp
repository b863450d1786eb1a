// What a link between two sides does: half a round trip, and bytes per second with a number of
// messages under way. perftest's ib_write_lat and ib_write_bw measure the same.
//
// Both sides call the same function at the same time, each with its end of the link; side 0 gets
// the figures. A Link has
//   bool send(size_t bytes)     starts a message; false: not now
//   bool progress()             moves everything on, never blocks; false: the other side is lost
//   uint64_t num_sent()         messages whose source is free again
//   void expect(size_t bytes)   how long the messages are that come from now on
//   bool take()                 one more message is here; takes it
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/net.hpp"

namespace hfr::tools {

// Gives up when `progress` says so, or at the deadline, which it looks at now and then.
template <typename Link>
class Turns {
 public:
  Turns(Link& link, uint64_t deadline_ns)
      : link_(link), deadline_ns_(deadline_ns), first_(link.num_sent()) {}
  bool next() {
    if (++turns_ % 4096 == 0 && monotonic_ns() > deadline_ns_) return false;
    return link_.progress();
  }
  // Until a message is here.
  bool await() {
    while (!link_.take()) {
      if (!next()) return false;
    }
    return true;
  }
  bool send(size_t bytes) {
    while (!link_.send(bytes)) {
      if (!next()) return false;
    }
    ++num_given_;
    return true;
  }
  // Until what was sent has left: nobody moves the link on when the measurement is over.
  bool finish() {
    while (link_.num_sent() < first_ + num_given_) {
      if (!next()) return false;
    }
    return true;
  }

 private:
  Link& link_;
  const uint64_t deadline_ns_;
  const uint64_t first_;
  uint64_t num_given_ = 0;
  uint32_t turns_ = 0;
};

// A clock that can be read without being noticed, in steps of any length: an emulated machine's
// clock takes microseconds to read.
inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return monotonic_ns();
#endif
}

// Half of each of `count` round trips, in nanoseconds, after a tenth as many that are not timed.
// Side 1's list stays empty. False: the link failed.
template <typename Link>
bool measure_latency(Link& link, int side, size_t bytes, int count, uint64_t deadline_ns,
                     std::vector<double>& half_round_trips_ns) {
  Turns<Link> turns(link, deadline_ns);
  half_round_trips_ns.clear();
  half_round_trips_ns.reserve(static_cast<size_t>(count));
  link.expect(bytes);
  uint64_t start_ns = 0;
  uint64_t start_ticks = 0;
  uint64_t before = 0;
  for (int i = -count / 10; i < count; ++i) {
    if (side == 1) {
      if (!turns.await() || !turns.send(bytes)) return false;
      continue;
    }
    if (i == 0) {
      start_ns = monotonic_ns();
      start_ticks = before = ticks();
    }
    if (!turns.send(bytes) || !turns.await()) return false;
    if (i < 0) continue;
    const uint64_t now = ticks();
    half_round_trips_ns.push_back(static_cast<double>(now - before) / 2);
    before = now;
  }
  if (side == 0) {
    const double ns_per_tick =
        static_cast<double>(monotonic_ns() - start_ns) / static_cast<double>(ticks() - start_ticks);
    for (double& time : half_round_trips_ns) time *= ns_per_tick;
  }
  return turns.finish();
}

// Nanoseconds from side 0's first message to side 1's answer that all `count` are there; at most
// `depth` are under way. False: the link failed.
template <typename Link>
bool measure_train(Link& link, int side, size_t bytes, int count, int depth, uint64_t deadline_ns,
                   double& elapsed_ns) {
  constexpr size_t kAnswerBytes = 8;
  Turns<Link> turns(link, deadline_ns);
  if (side == 1) {
    link.expect(bytes);
    for (int i = 0; i < count; ++i) {
      if (!turns.await()) return false;
    }
    return turns.send(kAnswerBytes) && turns.finish();
  }
  link.expect(kAnswerBytes);
  const uint64_t first = link.num_sent();
  const uint64_t start = monotonic_ns();
  for (int sent = 0; sent < count;) {
    if (sent < static_cast<int>(link.num_sent() - first) + depth && link.send(bytes)) {
      ++sent;
    } else if (!turns.next()) {
      return false;
    }
  }
  if (!turns.await()) return false;
  elapsed_ns = static_cast<double>(monotonic_ns() - start);
  while (link.num_sent() < first + static_cast<uint64_t>(count)) {
    if (!turns.next()) return false;
  }
  return true;
}

}  // namespace hfr::tools
