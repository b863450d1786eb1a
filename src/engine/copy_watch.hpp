// CopyWatch: when a rank's queued copies went, seen in the counters that they wait for and signal.
// A time is as exact as the engine's turns are short.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ports/clock.hpp"
#include "ports/device.hpp"

namespace hfr {

class CopyWatch {
 public:
  // `capacity`: copies in a direction; more are left out.
  explicit CopyWatch(size_t capacity) {
    for (Watched& watched : watched_) watched.copies.resize(capacity);
  }

  // The copy was queued: it begins when its counter lets it go and the one before it has ended.
  void watch(CopyDirection direction, const CopyDescriptor& copy) {
    Watched& watched = watched_[static_cast<size_t>(direction)];
    if (watched.queued - watched.ended == watched.copies.size()) return;
    watched.at(watched.queued++).copy = copy;
    ++num_open_;
  }

  // Once a turn: which copies may go by now, and ended(direction, copy, begin_ns, end_ns) for each
  // that has.
  template <typename Ended>
  void look(const Clock& clock, Ended&& ended) {
    if (num_open_ == 0) return;
    for (CopyDirection direction : kAllDirections) {
      Watched& watched = watched_[static_cast<size_t>(direction)];
      if (watched.ended == watched.queued) continue;
      for (; watched.may_go < watched.queued; ++watched.may_go) {
        Watched::Copy& next = watched.at(watched.may_go);
        if (!next.copy.may_go()) break;
        next.may_go_ns = clock.now_ns();
      }
      for (; watched.ended < watched.may_go; ++watched.ended) {
        const Watched::Copy& first = watched.at(watched.ended);
        if (first.copy.signal->load() < first.copy.signal_value) break;
        const uint64_t begin_ns = std::max(first.may_go_ns, watched.last_end_ns);
        watched.last_end_ns = clock.now_ns();
        --num_open_;
        ended(direction, first.copy, begin_ns, watched.last_end_ns);
      }
    }
  }

 private:
  // One direction's queued copies:  | ended ... | may go | not yet ... |
  struct Watched {
    struct Copy {
      CopyDescriptor copy;
      uint64_t may_go_ns;
    };
    Copy& at(size_t idx) { return copies[idx % copies.size()]; }

    std::vector<Copy> copies;
    size_t ended = 0;
    size_t may_go = 0;
    size_t queued = 0;
    uint64_t last_end_ns = 0;
  };

  std::array<Watched, kNumDirections> watched_;
  size_t num_open_ = 0;  // queued and not ended
};

}  // namespace hfr
