// The flat path: small messages on one node. Every rank's post carries its input, in the cache line
// of its flag when it is tiny; every rank adds all inputs itself, in rank order. One hop, no second
// meeting: a post is overwritten only when every rank has long completed the operation
// (staging.hpp). Inputs that are read where they lie cost one more hop, in which their owner learns
// that all have read.
#include <cstring>

#include "base/signature.hpp"
#include "base/waiter.hpp"
#include "engine/add.hpp"
#include "engine/direct_guard.hpp"
#include "engine/executor.hpp"

namespace hfr {
namespace {

// Looks in a row before the first rest: a post that is due comes within these.
constexpr uint32_t kLooksWithoutRest = 32;

// True when the post for operation `number` came within `num_looks`, which counts down.
bool await_post(const Post& post, uint64_t number, uint32_t& num_looks) {
  for (uint32_t looks = 1; post.seq.load(std::memory_order_acquire) != number + 1; ++looks) {
    if (num_looks == 0) return false;
    --num_looks;
    if (looks > kLooksWithoutRest) Waiter::relax();
  }
  return true;
}

}  // namespace

uint32_t Executor::offer_flat(const OpDescriptor& desc, size_t bytes, Post& p) const {
  // Reading in place costs the owner a wait for its readers: worth it past a few cache lines, and
  // impossible in place, where the result would overwrite what others still read.
  if (bytes > context_.limits.publish_bytes && desc.send != desc.recv && context_.direct) {
    const bool in_heap = !context_.one_process;
    if (!in_heap || context_.heap.contains(desc.send, bytes)) {
      p.send = context_.heap.where(desc.send, in_heap);
      return Post::kSendDirect;
    }
  }
  if (bytes > 0) std::memcpy(p.payload, desc.send, bytes);
  return Post::kPublished;
}

bool Executor::finishes_flat(const OpDescriptor& desc, size_t bytes) const {
  return (takes_flat(bytes) || may_publish(bytes)) && desc.op != Op::kPremulSum &&
         num_local_ <= ReduceDescriptor::kMaxSources && context_.device.host_accessible();
}

// Without an Operation, which would cost as much as the adding does. False: the operation is
// posted, and not finished.
bool Executor::finish_flat(const OpDescriptor& desc, uint64_t number, uint32_t num_looks) {
  const uint64_t signature = make_signature(desc.count, desc.dtype, desc.op);
  const size_t bytes = desc.count * dtype_size(desc.dtype);
  Post& mine = context_.staging.post(me_, number);
  mine.flags = offer(desc, bytes, mine);
  mine.scale = desc.scale;
  mine.signature = signature;
  mine.seq.store(number + 1, std::memory_order_release);
  // While the others' posts travel.
  Recorder* const recorder = context_.recorder;
  if (recorder != nullptr) recorder->called(number, signature);
  if ((mine.flags & Post::kPublished) == 0) return false;
  ReduceDescriptor work;
  work.dsts[work.num_dsts++] = desc.recv;
  work.count = desc.count;
  work.dtype = desc.dtype;
  work.op = desc.op;
  work.divisor = context_.shape.num_ranks;
  for (int r = 0; r < num_local_; ++r) {
    const Post& p = context_.staging.post(r, number);
    if (!await_post(p, number, num_looks) || p.signature != signature ||
        (p.flags & Post::kPublished) == 0) {
      return false;
    }
    work.srcs[work.num_srcs++] = r == me_ ? desc.send : p.payload;
  }
  context_.pool.run(work);
  if (recorder != nullptr) recorder->completed(number + 1);
  posted_ = running_ = number + 1;
  meters_.bytes.add(bytes);
  meters_.by_path[static_cast<size_t>(OpPath::kFlat)].add(1);
  submitted_.store(number + 1, std::memory_order_relaxed);
  completed_.store(number + 1, std::memory_order_release);
  return true;
}

bool Executor::step_flat(Operation& o) {
  if (!o.added) {
    DirectGuard guard(context_, o.reads_in_place);
    if (!guard.allowed()) return false;
    ReduceDescriptor work;
    work.dsts[0] = o.desc.recv;
    work.num_dsts = 1;
    work.count = o.desc.count;
    work.dtype = o.desc.dtype;
    work.op = o.desc.op;
    work.divisor = context_.shape.num_ranks;
    Adder adder(context_.pool, work);
    for (size_t r = 0; r < o.sends.size(); ++r) adder.add_source(o.sends[r], o.scales[r]);
    context_.pool.run(work);
    o.added = true;
    if (!o.reads_in_place) {
      o.state = o.desc.bounced ? OpState::kAdded : OpState::kDone;
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
  o.state = o.desc.bounced ? OpState::kAdded : OpState::kDone;
  return true;
}

// A small message of a GPU: its result goes back there.
bool Executor::leave_host(Operation& o) {
  if (o.desc.undecided) return false;
  UserSide& user = *context_.device.user_side();
  if (o.state == OpState::kAdded && o.desc.graph != nullptr) {
    // Nobody asks when the copy has finished, and the graph's next run comes after it.
    o.desc.bounce->out->open();
    o.state = OpState::kDone;
    return true;
  }
  if (o.state == OpState::kAdded && o.desc.gated) {
    if (Status status = user.bounce_go(*o.desc.bounce); !status.ok()) fail_device(status);
    o.state = OpState::kLeaving;
    return true;
  }
  // A driver call may wait for a stream that waits for an earlier operation (docs/cuda.md).
  if (o.state == OpState::kAdded && completed_.load(std::memory_order_relaxed) == o.number) {
    Status status = user.bounce_out(o.desc.gpu_stream, *o.desc.bounce, false);
    if (!status.ok()) {
      fail_device(status);
      return true;
    }
    o.state = OpState::kLeaving;
    return true;
  }
  if (o.state != OpState::kLeaving || !user.bounce_left(*o.desc.bounce)) return false;
  o.state = OpState::kDone;
  return true;
}

}  // namespace hfr
