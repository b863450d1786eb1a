#include "sim/sim_copy_team.hpp"

#include "sim/sim_device.hpp"

namespace hfr::sim {
namespace {

// As the shipped one's.
constexpr size_t kBatchBytes = size_t{8} << 20;
constexpr size_t kUnderWay = 2;

enum What : uint64_t { kBegin, kFlowed };

}  // namespace

void SimCopyTeam::look() {
  while (batches_.size() < kUnderWay) {
    Batch batch = gather();
    if (batch.empty()) return;
    batches_.push_back(std::move(batch));
    if (batches_.size() == 1) begin();
  }
}

SimCopyTeam::Batch SimCopyTeam::gather() {
  Batch batch;
  size_t bytes = 0;
  while (true) {
    SimDevice* from = nullptr;
    const CopyDescriptor* lowest = nullptr;
    for (SimDevice* member : members_) {
      const CopyDescriptor* offer = member->next_offer(direction_);
      if (offer == nullptr) continue;
      if (lowest != nullptr && lowest->signal_value <= offer->signal_value) continue;
      from = member;
      lowest = offer;
    }
    if (from == nullptr || (!batch.empty() && bytes + lowest->bytes > kBatchBytes)) return batch;
    bytes += lowest->bytes;
    batch.push_back({from, from->path(direction_, *lowest), lowest->bytes});
    from->take_offer(direction_);
  }
}

void SimCopyTeam::begin() {
  flowing_ = 0;
  loop_.in(from_us(node_.copy_overhead_us), *this, kBegin);
}

void SimCopyTeam::flow() {
  const Copy& copy = batches_.front()[flowing_];
  loop_.flow(copy.path.uses(), copy.bytes, *this, kFlowed);
}

void SimCopyTeam::on_event(uint64_t what) {
  if (what == kBegin) return flow();
  if (++flowing_ < batches_.front().size()) return flow();
  const Batch done = std::move(batches_.front());
  batches_.pop_front();
  if (!batches_.empty()) begin();
  for (const Copy& copy : done) copy.member->finish(direction_);
  look();
}

}  // namespace hfr::sim
