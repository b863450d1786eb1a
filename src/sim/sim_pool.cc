#include "sim/sim_pool.hpp"

#include <algorithm>

namespace hfr::sim {
namespace {

size_t bytes_of(const ReduceDescriptor& work) { return work.count * dtype_size(work.dtype); }

}  // namespace

void SimPool::run(const ReduceDescriptor& work) {
  if (parts_.adds != nullptr) parts_.adds->run(work);
  const double time =
      parts_.machine.add_seconds_per_byte(work.num_srcs) * static_cast<double>(bytes_of(work));
  parts_.wakes.keep_busy(place_.rank, static_cast<SimTime>(time * kPsPerSecond));
}

bool SimPool::submit(const ReduceDescriptor& work, Token token) {
  auto sum = std::find_if(sums_.begin(), sums_.end(), [](const Sum& s) { return !s.used; });
  if (sum == sums_.end()) {
    if (sums_.size() == kCapacity) return false;
    sum = sums_.insert(sums_.end(), Sum{});
  }
  *sum = {work, token, true, parts_.loop.now()};
  const double overhead_us =
      parts_.machine.on_host() ? 0 : parts_.machine.cluster().node.add_overhead_us;
  const SimTime begin = std::max(parts_.loop.now(), parts_.wakes.busy_until(place_.rank));
  parts_.loop.at(begin + from_us(overhead_us), *this,
                 2 * static_cast<uint64_t>(sum - sums_.begin()));
  return true;
}

void SimPool::on_event(uint64_t what) {
  if (cancelled_) return;
  Sum& sum = sums_[what / 2];
  if (what % 2 == 0) {
    int num_inputs = 0;
    for (int s = 0; s < sum.work.num_srcs; ++s)
      num_inputs += parts_.staging.is_input(sum.work.srcs[s]) ? 1 : 0;
    const Path path = parts_.machine.add(place_.node, place_.local_rank, num_inputs,
                                         sum.work.num_srcs - num_inputs);
    parts_.loop.flow(path.uses(), bytes_of(sum.work), *this, what + 1);
    return;
  }
  if (parts_.adds != nullptr) parts_.adds->run(sum.work);
  if (parts_.log != nullptr) {
    parts_.log->record({SpanKind::kAdd, place_.rank, static_cast<int>(sum.token), -1,
                        bytes_of(sum.work), sum.began, parts_.loop.now()});
  }
  sum.used = false;
  done_.push_back(sum.token);
  parts_.wakes.wake(place_.rank);
}

size_t SimPool::poll(std::span<Token> done) {
  const size_t count = std::min(done.size(), done_.size());
  std::copy_n(done_.begin(), count, done.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace hfr::sim
