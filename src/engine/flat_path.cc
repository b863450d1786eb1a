// The flat path: small messages on one node. Every rank's post carries its input, in the cache line
// of its flag when it is tiny; every rank adds all inputs itself, in rank order. One hop, no second
// meeting: a post is overwritten only when every rank has long completed the operation
// (staging.hpp). Inputs that are read where they lie cost one more hop, in which their owner learns
// that all have read.
#include "engine/add.hpp"
#include "engine/direct_guard.hpp"
#include "engine/executor.hpp"

namespace hfr {

bool Executor::step_flat(Operation& o) {
  if (!o.added) {
    DirectGuard guard(context_, o.reads_in_place);
    if (!guard.allowed()) return false;
    ReduceDescriptor shape;
    shape.dsts[0] = o.desc.recv;
    shape.num_dsts = 1;
    shape.count = o.desc.count;
    shape.dtype = o.desc.dtype;
    shape.op = o.desc.op;
    shape.divisor = context_.shape.num_ranks;
    Adder adder(context_.pool, shape);
    for (const std::byte* src : o.sends) adder.add_source(src);
    context_.pool.run(adder.descriptor());
    o.added = true;
    if (!o.reads_in_place) {
      o.state = OpState::kDone;
      return true;
    }
    context_.staging.read(me_).store(o.number + 1);
  }
  // Only a rank whose own input is being read has to stay.
  if ((context_.staging.post(me_, o.number).flags & Post::kSendDirect) != 0) {
    for (int r = 0; r < num_local_; ++r) {
      if (context_.staging.read(r).load() < o.number + 1) return false;
    }
  }
  o.state = OpState::kDone;
  return true;
}

}  // namespace hfr
