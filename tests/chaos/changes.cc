// How a rank's communicator changes while it trains: split, suspended, grown, shrunk.
#include <algorithm>
#include <cstddef>

#include "rank.hpp"

namespace hfr_tests {
namespace {

constexpr int kMostShrinks = 6;

}  // namespace

// All members have made the step, and come here.
bool Rank::change_after(const Step& step) {
  if (step.split && !split(step)) return false;
  if (step.suspend && !suspend(step)) return false;
  const bool grows =
      next_growth_ < plan_.growths().size() && plan_.growths()[next_growth_].step <= step.number;
  return !grows || grow();
}

// Halves by turns; each sums once, and is gone again.
bool Rank::split(const Step& step) {
  const auto place = std::find(members_.begin(), members_.end(), rank_) - members_.begin();
  std::vector<int> half;
  for (size_t i = 0; i < members_.size(); ++i)
    if (i % 2 == static_cast<size_t>(place) % 2) half.push_back(members_[i]);
  hfr_comm_t child = nullptr;
  const hfr_status_t status = watch_.call(
      3, 2'000, [&] { return hfr_comm_split(comm_, static_cast<int>(place % 2), 0, &child); });
  if (!outcome_.check(status, "split", comm_)) return false;
  Step small = step;
  small.count = std::min<size_t>(step.count, 1'000);
  const bool well = sum(small, child, half, nullptr) &&
                    outcome_.check(watch_.call(1, 2'000, [&] { return hfr_comm_finalize(child); }),
                                   "finalize of a split", child);
  watch_.call(1, 3'000, [&] { return hfr_comm_destroy(child); });
  return well;
}

bool Rank::suspend(const Step& step) {
  watch_.phase(Phase::kSuspending);
  if (!summer_.give_memory_back(comm_)) return false;
  hfr_status_t status = watch_.call(2, 2'000, [&] { return hfr_comm_suspend(comm_); });
  if (!outcome_.check(status, "suspend", comm_)) return false;
  sleep_us(step.suspended_us);
  status = watch_.call(2, 2'000, [&] { return hfr_comm_resume(comm_); });
  if (!outcome_.check(status, "resume", comm_) || !summer_.take_memory(comm_)) return false;
  watch_.phase(Phase::kTraining);
  ++counts_.suspends;
  return true;
}

// Who has the child goes on with it, and shrinks it when it fails; who has an error goes on with
// the parent, or shrinks that.
bool Rank::grow() {
  watch_.phase(Phase::kGrowing);
  Page::Id& place = page_->growths[next_growth_];
  const size_t host = plan_.growth_host(next_growth_, members_.size());
  const int num_ranks = static_cast<int>(members_.size()) + plan_.growths()[next_growth_].num_new;
  ++next_growth_;
  if (members_[host] == rank_) {
    hfr_unique_id_t id{};
    const hfr_status_t status = hfr_comm_get_unique_id(comm_, &id);
    place.id = id;
    place.num_members = members_.size();
    place.made = outcome_.check(status, "get_unique_id for a growth", comm_) ? 1 : 2;
  }
  hfr_comm_t child = nullptr;
  const hfr_status_t status =
      watch_.call(3, 3'000, [&] { return hfr_comm_grow(comm_, num_ranks, &child); });
  if (outcome_.check(status, "grow", comm_)) {
    leave();
    comm_ = child;
    ++counts_.growths;
    counts_.since_ns = now_ns();
    if (!summer_.take_memory(comm_)) return false;
  } else if (!may_recover_) {
    return false;
  }
  if (!agree("all_reduce after a growth")) return false;
  watch_.phase(Phase::kTraining);
  outcome_.forgive();
  return true;
}

bool Rank::recover() {
  watch_.phase(Phase::kShrinking);
  for (int attempt = 0; attempt < kMostShrinks; ++attempt) {
    hfr_comm_t child = nullptr;
    const hfr_status_t status =
        watch_.call(1, 2'000, [&] { return hfr_comm_shrink(comm_, nullptr, &child); });
    if (!outcome_.check(status, "shrink", comm_)) {
      if (status == HFR_REMOTE_ERROR) continue;  // somebody died meanwhile
      return false;
    }
    leave();
    comm_ = child;
    ++counts_.shrinks;
    counts_.since_ns = now_ns();
    if (!summer_.take_memory(comm_)) return false;
    if (!agree("all_reduce after a shrink")) {
      if (ended_) return false;
      continue;
    }
    watch_.phase(Phase::kTraining);
    outcome_.forgive();
    return true;
  }
  return false;
}

bool Rank::agree(const char* where) {
  const auto reduce = [&](uint64_t in, uint64_t* out, hfr_op_t op) {
    const hfr_status_t status = watch_.call(1, 2'000, [&] {
      return hfr_all_reduce(&in, out, 1, HFR_UINT64, op, comm_, nullptr, nullptr);
    });
    return outcome_.check(status, where, comm_);
  };
  uint64_t members = 0, step = 0, growth = 0;
  int count = 0;
  if (!reduce(uint64_t{1} << rank_, &members, HFR_SUM) || !reduce(step_, &step, HFR_MIN) ||
      !reduce(next_growth_, &growth, HFR_MAX))
    return false;
  members_.clear();
  for (int rank = 0; rank < num_all_; ++rank)
    if ((members >> rank & 1) != 0) members_.push_back(rank);
  hfr_comm_count(comm_, &count);
  const auto wrong = [&](const char* what, uint64_t value) {
    outcome_.wrong(Step{}, what, value, members_);
    end_wrong();
  };
  if (members >> num_all_ != 0 || count != static_cast<int>(members_.size()))
    wrong("the members' sum", members);
  if (step == UINT64_MAX) {
    // New ranks only: those whom they joined called the growth off, or are dead.
    outcome_.fail(HFR_REMOTE_ERROR, where, "none of the ranks is left that this one joined");
    ended_ = true;
    return false;
  }
  if (step_ != UINT64_MAX && step + 1 < step_) wrong("the step that another rank is at", step);
  step_ = step;
  next_growth_ = growth;
  return true;
}

}  // namespace hfr_tests
