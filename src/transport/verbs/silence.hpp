// SilenceWatch: for how long nothing has been acknowledged though something is due.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hfr::verbs {

// Who is looked at less often than this was not driven meanwhile.
constexpr uint64_t kPauseNs = 1'000'000'000;

class SilenceWatch {
 public:
  // Now and then, with what was posted and completed until now. Time in which nobody looked does
  // not count.
  uint64_t look(uint64_t posted, uint64_t completed, uint64_t now_ns) {
    const bool paused = now_ns - looked_ns_ > kPauseNs;
    looked_ns_ = now_ns;
    if (posted == completed || completed != completed_ || paused) {
      completed_ = completed;
      since_ns_ = now_ns;
    }
    return now_ns - since_ns_;
  }
  // Another queue pair's counts follow.
  void reset() { *this = SilenceWatch(); }

 private:
  uint64_t completed_ = 0;
  uint64_t since_ns_ = 0;
  uint64_t looked_ns_ = 0;
};

// How long a connection may be silent: past what a device takes to give up, which may be four times
// what it was told (InfiniBand specification, transport timer), and so that enough of the time for
// mending is left.
inline uint64_t most_silence_ns(uint64_t give_up_ns, uint64_t mend_ns) {
  constexpr uint64_t kLeastNs = 1'000'000'000;
  return std::max(std::min(4 * give_up_ns, mend_ns / 2), kLeastNs);
}

}  // namespace hfr::verbs
