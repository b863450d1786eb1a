// A small message between nodes that have one rank here, and whose caller waits for it. It travels
// its lane as every other does (lane.cc), but the rank has nobody to meet on its node and nothing
// else under way: what a turn would look after is left out, and so is most of how an operation
// starts. Peers cannot tell.
#include <algorithm>

#include "engine/executor.hpp"

namespace hfr {
namespace {

// Over TCP each is a system call, and a partner that is due comes within these; what takes longer
// waits as others do.
constexpr uint32_t kMostLooks = 64;

}  // namespace

bool Executor::takes_exchange(size_t bytes) const {
  return num_local_ == 1 && uses_butterfly(bytes, false) && context_.ranges == nullptr &&
         context_.device.host_accessible();
}

void Executor::begin_exchange(Operation& o) {
  if (o.bytes >= kTimedOperationBytes) o.posted_ns = context_.clock.now_ns();
  o.state = OpState::kRunning;
  posted_ = running_ = o.number + 1;
  o.path = OpPath::kLanes;
  o.sends[0] = static_cast<const std::byte*>(o.desc.send);
  o.recvs[0] = static_cast<std::byte*>(o.desc.recv);
  o.scales[0] = o.desc.scale;
  o.reads_in_place = false;
  o.timed_from_ns = 0;
  o.grouped = o.stays_inside = false;
  o.butterfly = true;
  o.chunking = {o.bytes, context_.staging.shape().round_bytes, 1};
  o.num_empty = 0;
  o.num_chunks = o.owned = 1;
  o.first_chunk = next_chunk_++;
  o.fed.fill(1);  // nothing is copied
  o.copy_out_end = o.retired = 0;
  ++open_lane_ops_;
  meters_.by_path[static_cast<size_t>(OpPath::kLanes)].add(1);
}

void Executor::run_exchange(Operation& o, uint32_t num_looks) {
  Lane& lane = *own_lane(lane_of(o.first_chunk));
  auto goes_on = [&] {
    return o.retired == 0 && !failed() &&
           context_.staging.failure().state.load(std::memory_order_relaxed) == 0;
  };
  lane.advance(*this);
  for (uint32_t looks = std::min(num_looks, kMostLooks); looks > 0 && goes_on(); --looks) {
    context_.transport->expect(lane.awaited_peer());
    poll_transport();
    lane.advance(*this);
  }
  if (o.retired != 0 && !failed()) complete_operations();
}

}  // namespace hfr
