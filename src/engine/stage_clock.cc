#include "engine/stage_clock.hpp"

namespace hfr {

uint64_t StageClock::lap(record::SpanStage stage, int rank) {
  const uint64_t began_ns = std::exchange(lap_began_ns_, context_->clock.now_ns());
  if (context_->recorder != nullptr) {
    context_->recorder->span({stage, rank, operation_, chunk_, bytes_}, began_ns, lap_began_ns_);
  }
  return lap_began_ns_ - began_ns;
}

void StageClock::end_timed_wait(Awaited what, uint64_t ns) {
  meters_->of(stage_of(what)).time(ns);
  if (context_->trace == nullptr) return;
  const auto traced = static_cast<size_t>(TraceStage::kWaitInput) + static_cast<size_t>(what) -
                      static_cast<size_t>(Awaited::kInput);
  context_->trace->record(static_cast<TraceStage>(traced), chunk_, bytes_, lap_began_ns_ - ns,
                          lap_began_ns_);
}

void StageClock::end_timed_add() {
  meters_->of(Stage::kAdd).time(lap(record::SpanStage::kAdd, context_->shape.rank));
  if (context_->trace == nullptr) return;
  context_->trace->record(TraceStage::kAdd, chunk_, bytes_, add_began_ns_,
                          context_->trace->now_ns());
}

void StageClock::end_put(int peer, uint64_t began_ns) {
  if (began_ns == 0) return;
  const uint64_t now_ns = context_->clock.now_ns();
  meters_->of(Stage::kSend).time(now_ns - began_ns);
  if (context_->recorder != nullptr) {
    context_->recorder->span({record::SpanStage::kPut, peer, operation_, chunk_, bytes_}, began_ns,
                             now_ns);
  }
  if (context_->trace != nullptr)
    context_->trace->record(TraceStage::kSend, chunk_, bytes_, began_ns, now_ns);
}

}  // namespace hfr
