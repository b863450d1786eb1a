// A communicator of this one's ranks and of new ones (docs/recovery.md).
//
// All members that live have the child, or none of them has, whichever single rank dies meanwhile.
// Who hosts the child's rendezvous may have told some that it is set up, and others not. So another
// member, the witness, hosts a second, short-lived rendezvous of the members, where they say that
// they have the child:
//
//   host     v----- child's set-up -----v
//   witness  |-- all members are here --|-- all have it --|
//
// What the witness tells counts. When the witness dies, everybody looks at the child's set-up,
// which the host has told of to all or to none.
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "base/cancel.hpp"
#include "base/pack.hpp"
#include "base/text.hpp"
#include "base/waiter.hpp"
#include "comm/communicator.hpp"

namespace hfr {
namespace {

// Members' set-ups that fail end at one deadline, but not in one moment.
constexpr uint64_t kAgreeNs = 2'000'000'000;
constexpr uint64_t kOthersFirstNs = 300'000'000;
constexpr int kMostWitnesses = 2;  // ranks that can be it: one of them is not the host

// What members tell each other when they grow.
struct GrowthWord {
  int num_ranks = 0;
  std::string address;  // of the rendezvous, from the member that made the id; else empty
  int num_ids = 0;      // that it has made
  std::string witness;  // where this rank would be the witness; empty: it cannot
};

std::vector<std::byte> encode(const GrowthWord& word) {
  return pack({cat(word.num_ranks), word.address, cat(word.num_ids), word.witness});
}

Result<GrowthWord> decode_growth(const std::vector<std::byte>& bytes, int rank) {
  auto fields = unpack(bytes, 4);
  if (!fields) {
    return Status(Code::kInternalError, cat("rank ", rank, " sent what cannot be read"));
  }
  return GrowthWord{std::atoi((*fields)[0].c_str()), (*fields)[1], std::atoi((*fields)[2].c_str()),
                    (*fields)[3]};
}

// The rank that made the id. The same on all members, and so is what is wrong.
Result<int> host_of(const std::vector<GrowthWord>& words) {
  int host = -1;
  for (int rank = 0; rank < static_cast<int>(words.size()); ++rank) {
    const GrowthWord& word = words[static_cast<size_t>(rank)];
    if (word.num_ranks != words[0].num_ranks) {
      return Status(Code::kMismatch,
                    cat("hfr_comm_grow: rank 0 passed num_ranks ", words[0].num_ranks, "; rank ",
                        rank, " passed ", word.num_ranks));
    }
    if (word.address.empty()) continue;
    if (host >= 0) {
      return Status(Code::kMismatch,
                    cat("hfr_comm_grow: ranks ", host, " and ", rank,
                        " have both called hfr_comm_get_unique_id; one of them may"));
    }
    host = rank;
  }
  if (host < 0) {
    return Status(Code::kInvalidUsage,
                  "hfr_comm_grow: no rank has called hfr_comm_get_unique_id since the last growth");
  }
  return host;
}

// One that is not the host: a single death takes one of them only.
Result<int> witness_of(const std::vector<GrowthWord>& words, int host) {
  const int witness = host == 0 ? 1 : 0;
  if (!words[static_cast<size_t>(witness)].witness.empty()) return witness;
  return Status(Code::kSystemError,
                cat("hfr_comm_grow: rank ", witness, " cannot listen for the other members"));
}

}  // namespace

// Ends a growth as soon as it cannot come to anything.
class GrowthFlag : public CancelFlag {
 public:
  GrowthFlag(const CancelFlag* parent, Membership& members)
      : CancelFlag(parent), members_(members) {}
  void watch(Membership& before_witness) { before_witness_ = &before_witness; }
  // This rank may have given what the others need to have the child. From here on it does not draw
  // back unless the witness says so.
  void enter_last_stage() { in_last_stage_.store(true); }

  bool is_set() const override {
    if (CancelFlag::is_set()) return true;
    if (!in_last_stage_.load()) return failure().has_value();
    return before_witness_->poll().has_value() && !before_witness_->has_lost_host();
  }
  // Who was called off, or saw only that a peer is gone, has what the others tell of a member, when
  // they do soon; else what it saw.
  Failure cause_of(const Failure& mine) const {
    const Code code = mine.status.code();
    const bool others = code == Code::kRemoteError || code == Code::kAborted;
    const uint64_t until_ns =
        monotonic_ns() + (others && !CancelFlag::is_set() ? kOthersFirstNs : 0);
    while (true) {
      if (auto told = failure(); told && others) return *told;
      if (monotonic_ns() >= until_ns) return mine;
      Waiter::sleep(1'000'000);
    }
  }

 private:
  // Of a member, as the witness or the parent's host tells.
  std::optional<Failure> failure() const {
    auto failure = before_witness_ != nullptr ? before_witness_->poll() : std::nullopt;
    return failure ? failure : members_.poll();
  }

  Membership& members_;                   // of the parent
  Membership* before_witness_ = nullptr;  // while that is there
  std::atomic<bool> in_last_stage_{false};
};

Secret Communicator::growth_secret(int rank, int count) const {
  return parts_.line.communicator_secret().derive(cat("hfreduce grow ", rank, " ", count));
}

Result<UniqueId> Communicator::make_growth_id() {
  const std::lock_guard lock(children_mutex_);
  HFR_RETURN_IF_ERROR(sticky());
  const Secret secret = growth_secret(parts_.shape.rank, ++num_growth_ids_);
  HFR_ASSIGN_OR_RETURN(growth_, open_rendezvous(parts_.config, secret));
  return growth_->id;
}

Result<std::shared_ptr<Communicator>> Communicator::grow(int num_ranks, const CancelFlag& cancel) {
  const std::lock_guard lock(children_mutex_);
  HFR_RETURN_IF_ERROR(complete_all());
  const uint64_t meeting_deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
  const Shape& shape = parts_.shape;
  Membership& membership = *parts_.membership;
  JoinSpec spec = heritage().spec(cat("grown", ++num_grown_));
  spec.is_child = false;  // as the new ranks
  spec.cancel = &cancel;
  spec.rank = shape.rank;
  spec.num_ranks = num_ranks;
  GrowthWord mine{num_ranks, "", num_growth_ids_, ""};
  if (growth_) {
    mine.address = text(growth_->id.address);
    spec.listener = std::move(growth_->listener);
    growth_.reset();
  }
  UniqueFd witness_listener;
  if (shape.rank < kMostWitnesses && shape.num_ranks > 1) {
    auto listener = listen_tcp({membership.local_host(), 0});
    if (listener.ok()) {
      const auto address = local_address(listener->get());
      if (address.ok()) mine.witness = text(*address);
      witness_listener = std::move(*listener);
    }
  }
  std::vector<GrowthWord> words;
  HFR_RETURN_IF_ERROR(meet_all([&]() -> Status {
    HFR_ASSIGN_OR_RETURN(auto blobs, membership.all_gather(encode(mine), meeting_deadline_ns,
                                                           "growing the communicator"));
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      HFR_ASSIGN_OR_RETURN(GrowthWord word, decode_growth(blobs[static_cast<size_t>(rank)], rank));
      words.push_back(std::move(word));
    }
    return Status();
  }));
  HFR_ASSIGN_OR_RETURN(const int host, host_of(words));
  const GrowthWord& word = words[static_cast<size_t>(host)];
  HFR_ASSIGN_OR_RETURN(spec.address, parse_host_port(word.address));
  spec.secret = growth_secret(host, word.num_ids);
  spec.deadline_ns = monotonic_ns() + parts_.limits.timeout_ns;
  if (shape.num_ranks == 1) return create(std::move(spec));

  JoinRequest request;
  HFR_ASSIGN_OR_RETURN(const int witness, witness_of(words, host));
  HFR_ASSIGN_OR_RETURN(request.address,
                       parse_host_port(words[static_cast<size_t>(witness)].witness));
  if (witness == shape.rank) request.listener = std::move(witness_listener);
  witness_listener.reset();
  request.rank = shape.rank;
  request.num_ranks = shape.num_ranks;
  request.secret = parts_.line.communicator_secret().derive(
      cat("hfreduce witness ", host, " ", word.num_ids));  // which new ranks do not know
  request.bind_host = membership.local_host();
  request.label = cat("pid ", getpid());
  request.deadline_ns = spec.deadline_ns;
  request.logger = parts_.logger.of(Subsystem::kRendezvous);
  GrowthFlag flag(&cancel, membership);
  const CancelScope scope(&flag);
  auto members = Membership::join(std::move(request));
  if (members.ok()) return grow_before_witness(std::move(spec), **members, flag);
  const Status& why = members.status();
  return flag
      .cause_of({Status(why.code(), cat("hfr_comm_grow: meeting the other members at rank ",
                                        witness, ": ", why.message())),
                 shape.rank})
      .status;
}

Result<std::shared_ptr<Communicator>> Communicator::grow_before_witness(JoinSpec spec,
                                                                        Membership& members,
                                                                        GrowthFlag& flag) {
  const int rank = parts_.shape.rank;
  const uint64_t deadline_ns = spec.deadline_ns + kAgreeNs;
  const CancelFlag* const cancel = spec.cancel;
  flag.watch(members);
  spec.cancel = &flag;
  spec.before_last_stage = [&flag] { flag.enter_last_stage(); };
  auto child = create(std::move(spec));
  if (!child.ok()) {
    return members.report_and_ask(flag.cause_of({child.status(), rank})).status;
  }
  const CancelScope scope(cancel);  // the flag asks `members`, which are busy
  const Status agreed = members.barrier(deadline_ns, "agreeing that all have the child");
  if (agreed.ok()) return child;
  const auto told = members.poll();
  // No word of the witness: the child is set up, and so it is on all.
  const bool silent = !told && agreed.code() == Code::kTimeout;
  if (silent || members.has_lost_host()) return child;
  const Failure why = told ? *told : Failure{agreed, rank};
  if (!told) members.report(why.status, why.rank);
  (*child)->give_up(
      {Status(Code::kRemoteError, cat("the growth was called off: ", why.status.message())),
       why.rank});
  return why.status;
}

}  // namespace hfr
