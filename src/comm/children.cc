// Communicators that are made of a communicator: parts of a healthy one, survivors of a failed one
// (docs/recovery.md; growth.cc has those with further ranks); and the end of one that is to be made
// again (docs/suspend.md).
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/text.hpp"
#include "comm/communicator.hpp"
#include "engine/failure.hpp"

namespace hfr {
namespace {

struct Part {
  std::vector<int> ranks;  // of the parent, in the child's order
  int rank = 0;            // this one's
};

// This rank's part; colours and keys are by rank of the parent.
Part part_of(int rank, const std::vector<std::pair<int, int>>& colors_and_keys) {
  const auto of = [&](int r) { return colors_and_keys[static_cast<size_t>(r)]; };
  Part part;
  for (int r = 0; r < static_cast<int>(colors_and_keys.size()); ++r) {
    if (of(r).first == of(rank).first) part.ranks.push_back(r);
  }
  std::stable_sort(part.ranks.begin(), part.ranks.end(),
                   [&](int a, int b) { return of(a).second < of(b).second; });
  const auto at = std::find(part.ranks.begin(), part.ranks.end(), rank);
  part.rank = static_cast<int>(at - part.ranks.begin());
  return part;
}

std::string as_string(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Set, too, once the parent knows that a rank of the part is gone: it will not join.
class PartFlag : public CancelFlag {
 public:
  PartFlag(const CancelFlag& parent, Membership& membership, const Part& part)
      : CancelFlag(&parent), membership_(membership), part_(part) {}
  bool is_set() const override { return CancelFlag::is_set() || loss().has_value(); }
  std::optional<Failure> loss() const {
    auto failure = membership_.poll();
    if (failure &&
        std::find(part_.ranks.begin(), part_.ranks.end(), failure->rank) == part_.ranks.end()) {
      failure.reset();
    }
    return failure;
  }

 private:
  Membership& membership_;
  const Part& part_;
};

Result<std::pair<int, int>> decode_color(const std::vector<std::byte>& bytes, int rank) {
  auto fields = unpack(bytes, 2);
  if (!fields) {
    return Status(Code::kInternalError, cat("rank ", rank, " sent a colour that cannot be read"));
  }
  return std::make_pair(std::atoi((*fields)[0].c_str()), std::atoi((*fields)[1].c_str()));
}

}  // namespace

Result<std::shared_ptr<Communicator>> Communicator::split(int color, int key,
                                                          const CancelFlag& cancel) {
  const std::lock_guard lock(children_mutex_);
  HFR_RETURN_IF_ERROR(complete_all());
  const uint64_t deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
  Membership& membership = *parts_.membership;
  const std::string stage = "splitting the communicator";
  std::vector<std::pair<int, int>> colors_and_keys;
  Part part;
  JoinSpec spec = heritage().spec(cat("split", ++num_splits_, "-", color));
  HFR_RETURN_IF_ERROR(meet_all([&]() -> Status {
    HFR_ASSIGN_OR_RETURN(auto blobs,
                         membership.all_gather(pack({cat(color), cat(key)}), deadline_ns, stage));
    for (int rank = 0; rank < parts_.shape.num_ranks; ++rank) {
      HFR_ASSIGN_OR_RETURN(auto theirs, decode_color(blobs[static_cast<size_t>(rank)], rank));
      colors_and_keys.push_back(theirs);
    }
    part = part_of(parts_.shape.rank, colors_and_keys);
    std::string address;
    if (color >= 0 && part.rank == 0) {
      HFR_ASSIGN_OR_RETURN(spec.listener, listen_tcp({membership.local_host(), 0}));
      HFR_ASSIGN_OR_RETURN(spec.address, local_address(spec.listener.get()));
      address = text(spec.address);
    }
    HFR_ASSIGN_OR_RETURN(
        blobs, membership.all_gather(std::as_bytes(std::span(address)), deadline_ns, stage));
    if (color < 0) return Status();
    HFR_ASSIGN_OR_RETURN(spec.address,
                         parse_host_port(as_string(blobs[static_cast<size_t>(part.ranks[0])])));
    return Status();
  }));
  if (color < 0) return std::shared_ptr<Communicator>();
  spec.rank = part.rank;
  spec.num_ranks = static_cast<int>(part.ranks.size());
  spec.secret =
      parts_.line.communicator_secret().derive(cat("hfreduce split ", num_splits_, " ", color));
  const PartFlag flag(cancel, membership, part);
  spec.cancel = &flag;
  auto child = create(std::move(spec));
  if (child.ok()) return child;
  const auto loss = flag.loss();
  return loss ? loss->status : child.status();
}

void Communicator::revoke(const std::string& call) {
  const Failure failure{Status(Code::kAborted, cat("rank ", parts_.shape.rank, " (node ",
                                                   parts_.shape.node, ") called ", call)),
                        parts_.shape.rank};
  if (!executor_.failed()) {
    publish_failure(context_.staging.failure(), failure);
    parts_.membership->report(failure.status, failure.rank);
  } else {
    tell_failure();
  }
  engine_.lock(*this);
  executor_.fail(failure);
  drive([&] { return executor_.idle(); });
  engine_.unlock();
}

Result<std::shared_ptr<Communicator>> Communicator::shrink(const std::vector<int>& excluded,
                                                           uint64_t timeout_ns,
                                                           const CancelFlag& cancel) {
  const std::lock_guard lock(children_mutex_);
  if (shrunk_ || finalized_.load(std::memory_order_relaxed)) {
    return Status(Code::kInvalidUsage,
                  cat("hfr_comm_shrink: this communicator was ",
                      shrunk_ ? "shrunk; use the one that was made of it" : "finalized"));
  }
  const uint64_t end_ns =
      monotonic_ns() + (timeout_ns != 0 ? timeout_ns : parts_.limits.timeout_ns);
  revoke("hfr_comm_shrink");
  Heritage from = heritage();
  auto child = hfr::shrink(from, {.excluded = excluded,
                                  .end_ns = end_ns,
                                  .cancel = &cancel,
                                  .logger = parts_.logger.of(Subsystem::kRecovery)});
  parts_.line = std::move(from.line);
  shrunk_ = child.ok();
  return child;
}

Heritage Communicator::heritage() {
  return {.config = parts_.config,
          .line = parts_.line,
          .first_ranks = first_ranks_,
          .cuda_context = parts_.cuda_context,
          .cuda_ordinal = parts_.cuda_ordinal,
          .metrics = metrics()};
}

std::string Communicator::holds_back() {
  const std::string who = cat("rank ", parts_.shape.rank, " (node ", parts_.shape.node, ")");
  if (num_allocated_.load() > 0)
    return cat("hfr_comm_suspend: ", who, " has memory from hfr_mem_alloc; free it first");
  if (!graphs_have_run())
    return cat("hfr_comm_suspend: ", who, " has operations in a stream that does not come to them");
  const Status unused = check_unused("hfr_comm_suspend");
  return unused.ok() ? "" : cat(unused.message(), "; ", who);
}

Status Communicator::prepare_suspend() {
  const std::lock_guard lock(children_mutex_);
  HFR_RETURN_IF_ERROR(complete_all());
  const std::string mine = holds_back();
  HFR_RETURN_IF_ERROR(sticky());
  const uint64_t deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
  std::string why;
  HFR_RETURN_IF_ERROR(meet_all([&]() -> Status {
    HFR_ASSIGN_OR_RETURN(auto blobs,
                         parts_.membership->all_gather(std::as_bytes(std::span(mine)), deadline_ns,
                                                       "suspending the communicator"));
    for (const auto& blob : blobs) {
      if (why.empty()) why = as_string(blob);
    }
    return Status();
  }));
  if (!why.empty()) return Status(Code::kInvalidUsage, why);
  finalized_.store(true, std::memory_order_relaxed);
  return Status();
}

}  // namespace hfr
