// How an operation starts: it is announced to the node's other ranks, and once all have announced
// it each chooses the same path from what they said, and cuts it into chunks where it travels the
// lanes.
#include <algorithm>
#include <cstring>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "engine/executor.hpp"
#include "sched/plan.hpp"

namespace hfr {

void Executor::post(Operation& o) {
  Post& p = context_.staging.post(me_, o.number);
  if (context_.ranges != nullptr)
    o.range = context_.ranges->begin(Ranges::Kind::kOperation, o.bytes);
  if (o.bytes >= kTimedOperationBytes) o.posted_ns = context_.clock.now_ns();
  p.flags = is_staged(o) ? Post::kStaged : offer(o.desc, o.bytes, p);
  p.scale = o.desc.scale;
  p.signature = o.signature;
  p.seq.store(o.number + 1, std::memory_order_release);
  announced(o);
}

void Executor::announced(Operation& o) {
  o.state = OpState::kPosted;
  o.posts_seen = 0;
  ++posted_;
}

uint32_t Executor::offer(const OpDescriptor& desc, size_t bytes, Post& p) {
  if (takes_flat(bytes)) return offer_flat(desc, bytes, p);
  return bytes == 0 ? Post::kPublished : offer_buffers(desc, bytes, p);  // 0: nothing to fetch
}

uint32_t Executor::offer_buffers(const OpDescriptor& desc, size_t bytes, Post& p) {
  const bool in_heap = context_.direct && !context_.one_process;
  const bool send =
      context_.direct && (context_.one_process || context_.heap.contains(desc.send, bytes));
  const bool recv =
      context_.direct && (context_.one_process || context_.heap.contains(desc.recv, bytes));
  // Heap offsets, unless all ranks of the node see the same addresses anyway.
  p.send = context_.heap.where(desc.send, send && in_heap);
  p.recv = context_.heap.where(desc.recv, recv && in_heap);
  uint32_t flags = 0;
  if (send) flags |= Post::kSendDirect;
  if (recv) flags |= Post::kRecvDirect;
  if (context_.peer_memory.available() && tuner_.offers_kernel(bytes)) flags |= Post::kPeerMemory;
  if (may_publish(bytes) && !(send && recv)) {
    // A copy takes less than the kernel's way to the input, and maybe others have one, too.
    std::memcpy(p.payload, desc.send, bytes);
    flags = (flags & ~uint32_t{Post::kSendDirect}) | Post::kPublished;
  }
  return flags;
}

bool Executor::gather_posts(Operation& o) {
  for (; o.posts_seen < num_local_; ++o.posts_seen) {
    Post& p = context_.staging.post(o.posts_seen, o.number);
    if (p.seq.load(std::memory_order_acquire) != o.number + 1) return false;
  }
  for (int r = 0; r < num_local_; ++r) {
    const Post& p = context_.staging.post(r, o.number);
    if (p.signature == o.signature) continue;
    int rank = context_.shape.nodes[context_.shape.node][r];
    fail({Status(Code::kMismatch, cat("operation #", o.number, ": rank ", context_.shape.rank,
                                      " started an ", signature_text(o.signature), "; rank ", rank,
                                      " started an ", signature_text(p.signature))),
          rank});
    return false;
  }
  return true;
}

bool Executor::choose_path(Operation& o) {
  o.state = OpState::kRunning;
  o.reads_in_place = false;
  bool all_reached = true;
  bool any_staged = false;
  bool all_published = true;
  for (int r = 0; r < num_local_; ++r) {
    const Post& p = context_.staging.post(r, o.number);
    const bool by_heap =
        !context_.one_process && (p.flags & (Post::kSendDirect | Post::kRecvDirect)) != 0;
    std::byte* base = by_heap ? context_.heap_base() : nullptr;
    if (by_heap && base == nullptr) return fail_mapping(o);
    auto reach = [&](uint64_t where) {
      return context_.one_process ? reinterpret_cast<std::byte*>(where) : base + where;
    };
    auto idx = static_cast<size_t>(r);
    o.sends[idx] = (p.flags & Post::kSendDirect) != 0 ? reach(p.send) : nullptr;
    o.recvs[idx] = (p.flags & Post::kRecvDirect) != 0 ? reach(p.recv) : nullptr;
    const bool by_kernel = (p.flags & Post::kPeerMemory) != 0;
    o.scales[idx] = p.scale;
    o.peer_sends[idx] = by_kernel ? p.send : 0;
    o.peer_recvs[idx] = by_kernel ? p.recv : 0;
    if ((p.flags & Post::kPublished) != 0) o.sends[idx] = p.payload;
    if ((p.flags & Post::kSendDirect) != 0) o.reads_in_place = true;
    if ((p.flags & Post::kStaged) != 0) any_staged = true;
    if ((p.flags & Post::kPublished) == 0) all_published = false;
    all_reached &= by_kernel || (o.sends[idx] != nullptr && o.recvs[idx] != nullptr);
  }
  // A flat result that is added in several passes would overwrite an input in place that is still
  // to be read: there the published copy serves.
  const bool one_node = context_.shape.num_nodes() == 1;
  const bool flat = (takes_flat(o.bytes) && !any_staged) || (may_publish(o.bytes) && all_published);
  const bool keep_copy = o.bytes == 0 || (flat && num_local_ > ReduceDescriptor::kMaxSources);
  if (in_host(o) && !keep_copy) {
    o.sends[static_cast<size_t>(me_)] = static_cast<const std::byte*>(o.desc.send);
    o.recvs[static_cast<size_t>(me_)] = static_cast<std::byte*>(o.desc.recv);
  }
  if (flat) {
    o.path = OpPath::kFlat;
    o.added = false;
  } else if (one_node && !any_staged &&
             (num_local_ == 1 ||
              (all_reached && num_local_ <= ReduceDescriptor::kMaxDestinations))) {
    o.path = OpPath::kDirect;
    auto unreached = [](const auto* where) { return where == nullptr; };
    o.by_kernel = std::any_of(o.sends.begin(), o.sends.end(), unreached) ||
                  std::any_of(o.recvs.begin(), o.recvs.end(), unreached);
    o.slice_done = 0;
    o.added = false;
    o.waited_for = -1;
    const bool timed =
        context_.recorder != nullptr && o.bytes >= kTimedOperationBytes && num_local_ > 1;
    o.stage_began_ns = timed ? context_.recorder->now_ns() : 0;
  } else {
    o.path = OpPath::kLanes;
    if (!is_staged(o)) lay_out_chunks(o);
    ++open_lane_ops_;
  }
  meters_.by_path[static_cast<size_t>(o.path)].add(1);
  const bool two_ways = context_.peer_memory.available() && tuner_.learns(o.bytes);
  const bool alone = completed_.load(std::memory_order_relaxed) == o.number;
  const bool in_reach = o.path == OpPath::kDirect && !o.by_kernel;
  o.timed_from_ns = two_ways && alone && !flat && !in_reach ? context_.clock.now_ns() : 0;
  return true;
}

bool Executor::fail_mapping(const Operation& o) {
  fail({Status(Code::kOutOfMemory,
               cat(operation_text(o), ": rank ", context_.shape.rank,
                   " cannot map the memory that the node's ranks share; allow it more address "
                   "space (ulimit -v) or lower HFREDUCE_HEAP_BYTES")),
        context_.shape.rank});
  return false;
}

const std::vector<Schedule>* Executor::choose_schedules(size_t bytes, bool in_graph) const {
  const NodeSchedules& schedules = context_.schedules;
  if (uses_butterfly(bytes, in_graph))
    return &schedules.tree;  // in no tree; their number is not used
  ForestKind kind = schedules.is_forced
                        ? schedules.forced
                        : choose_forest(context_.shape.num_nodes(), bytes, context_.limits.link);
  const bool use_ring = kind == ForestKind::kRing && !schedules.ring.empty();
  return use_ring ? &schedules.ring : &schedules.tree;
}

bool Executor::uses_butterfly(size_t bytes, bool in_graph) const {
  return !in_graph && context_.shape.num_nodes() > 1 && bytes <= context_.limits.butterfly_bytes;
}

bool Executor::is_grouped(size_t bytes, Op op, bool in_graph) const {
  // The group's kernel has no factors, and a graph's copies are those of a rank without a group.
  return context_.groups.any() && bytes >= context_.limits.group_from_bytes &&
         op != Op::kPremulSum && !in_graph;
}

bool Executor::stays_inside(size_t bytes, Op op, bool in_graph) const {
  return is_grouped(bytes, op, in_graph) && context_.shape.num_nodes() == 1 &&
         context_.groups.covers_node();
}

Chunking Executor::plan(size_t bytes, Op op, bool in_graph) const {
  PlanInput input;
  input.bytes = bytes;
  input.max_local_ranks = context_.shape.max_local();
  input.num_trees = static_cast<int>(choose_schedules(bytes, in_graph)->size());
  input.slot_bytes = context_.staging.shape().slot_bytes;
  input.min_chunk_bytes = context_.limits.min_chunk_bytes;
  if (stays_inside(bytes, op, in_graph)) {
    input.min_chunk_bytes = context_.limits.min_group_chunk_bytes;
  } else if (context_.limits.fine_chunk_bytes != 0 && bytes <= context_.limits.fine_until_bytes) {
    input.slot_bytes = context_.limits.fine_chunk_bytes;
  }
  if (uses_butterfly(bytes, in_graph)) {
    // One chunk: it is small, and it must fit a round slot.
    input.min_chunk_bytes = context_.staging.shape().round_bytes;
    input.slot_bytes = context_.staging.shape().round_bytes;
  }
  return plan_chunks(input);
}

void Executor::lay_out_chunks(Operation& o) {
  const bool in_graph = o.desc.graph != nullptr;
  const auto window = static_cast<uint64_t>(context_.staging.shape().window);
  o.grouped = is_grouped(o.bytes, o.desc.op, in_graph);
  o.stays_inside = stays_inside(o.bytes, o.desc.op, in_graph);
  o.butterfly = uses_butterfly(o.bytes, in_graph);
  o.forest = choose_schedules(o.bytes, in_graph);
  o.chunking = plan(o.bytes, o.desc.op, in_graph);
  o.num_empty = in_graph ? (window - next_chunk_ % window) % window : 0;
  o.num_chunks = o.num_empty + o.chunking.num_chunks;
  o.first_chunk = next_chunk_;
  next_chunk_ += o.num_chunks;
  begin_feeding(o);
  o.seen_in = o.seen_out = o.copy_out_end = 0;
  o.retired = 0;
  o.owned = o.num_chunks / window * lanes_.size();
  for (uint64_t chunk = next_chunk_ - o.num_chunks % window; chunk < next_chunk_; ++chunk) {
    const auto lane = static_cast<int>(chunk % window);
    if (lane % num_local_ == me_) ++o.owned;
  }
}

}  // namespace hfr
