// One rank of a chaos trial (docs/chaos.md): joins, sums in a loop until the driver has seen
// enough, shrinks and goes on where it is allowed to, and says on one line of standard output how
// it ended. The public C interface only. Every sum is checked, element by element, against what the
// members of that moment gave.
//
// usage: chaos_rank NAME=VALUE...   with rank and number of ranks from RANK and WORLD_SIZE; a rank
//                                   from WORLD_SIZE on joins in a growth
//   page=FILE      the job's page, which all ranks and the driver map
//   seed=N         of the steps: the same on all ranks
//   timeout_ms=N   deadline of set-up, operations and shrinks
//   max_bytes=N    of one buffer
//   recover=1      after a failure: shrink and go on
//   lives=N        communicators made one after the other
//   by_id=1        ranks meet by an id that travels through the page, not by HFREDUCE_RENDEZVOUS
//   non_blocking=1, split=1 (now and then), heap=1 (buffers of hfr_mem_alloc; 2: those of
//                  odd ranks)
//   suspend=STEP,... after these steps all suspend and resume
//   grow=STEP:N,...  after these steps N new ranks join
//   limit=RESOURCE:ROOM:STEPS   nofile or as: this process' limit is set so that ROOM descriptors
//                  or bytes more fit in, after so many steps (0: before it joins)
//   spoil=KIND     misbehave, so that the driver can be tested
#include "rank.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace hfr_tests {
namespace {

constexpr int kMostBarren = 8;

Page* map_page(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd < 0 || memory == MAP_FAILED) give_up("no page");
  close(fd);
  return static_cast<Page*>(memory);
}

// A stack that cannot grow under a limit ends the process: it has grown before.
void touch_stack() {
  volatile std::byte pages[1 << 20];
  for (size_t i = 0; i < sizeof(pages); i += 4096) pages[i] = std::byte{0};
}

int of_environment(const char* name) { return std::atoi(std::getenv(name)); }

bool is_on_heap(uint64_t heap, int rank) { return heap == 1 || (heap == 2 && rank % 2 == 1); }

}  // namespace

Rank::Rank(const Arguments& arguments)
    : plan_(arguments),
      timeout_ms_(static_cast<uint32_t>(arguments.number("timeout_ms"))),
      may_recover_(arguments.flag("recover")),
      lives_(std::max<int>(1, static_cast<int>(arguments.number("lives")))),
      by_id_(arguments.flag("by_id")),
      non_blocking_(arguments.flag("non_blocking")),
      spoil_(arguments.text("spoil")),
      rank_(of_environment("RANK")),
      num_first_(of_environment("WORLD_SIZE")),
      num_all_(num_first_ + plan_.num_new_ranks()),
      page_(map_page(arguments.text("page"))),
      watch_(page_->ranks[rank_], timeout_ms_),
      summer_(plan_, watch_, outcome_, rank_, is_on_heap(arguments.number("heap"), rank_)) {
  touch_stack();
  members_.reserve(kMaxRanks);
  if (!limit_.read(arguments.text("limit"))) give_up("limit cannot be read");
  before_ = open_descriptors();
}

int Rank::run() {
  if (is_new()) {
    live_as_new();
  } else {
    for (life_ = 0; life_ < lives_ && !ended_; ++life_) live();
  }
  watch_.phase(Phase::kEnding);
  limit_.restore();
  const std::string left = what_is_left();
  watch_.phase(Phase::kDone);
  report(left);
  return 0;
}

void Rank::live() {
  watch_.life(life_);
  limit_.lower_when_due(watch_.steps());
  if (spoil_ == "crash") std::abort();
  if (spoil_ == "mute") {
    outcome_.fail(HFR_SYSTEM_ERROR, "set-up", "");
    ended_ = true;
    return;
  }
  watch_.phase(Phase::kJoining);
  hfr_unique_id_t id{};
  if ((by_id_ && !exchange_id(id)) || !join(by_id_ ? &id : nullptr, num_first_, rank_)) {
    ended_ = true;
    return;
  }
  members_.clear();
  for (int rank = 0; rank < num_first_; ++rank) members_.push_back(rank);
  begin_training();
  if (summer_.take_memory(comm_)) {
    watch_.phase(Phase::kTraining);
    train();
  }
  leave();
  // Another life takes all ranks.
  ended_ = !outcome_.well() || static_cast<int>(members_.size()) != num_first_;
}

void Rank::live_as_new() {
  limit_.lower_when_due(watch_.steps());
  if (!join_in_growth()) return;
  begin_training();
  // The members know at which step they are, and they alone.
  step_ = UINT64_MAX;
  if ((summer_.take_memory(comm_) && agree("all_reduce of a new rank")) ||
      (may_recover_ && recover())) {
    watch_.phase(Phase::kTraining);
    train();
  }
  leave();
}

bool Rank::exchange_id(hfr_unique_id_t& id) {
  Page::Id& place = page_->ids[life_];
  if (rank_ == 0) {
    const hfr_status_t status = hfr_get_unique_id(&id);
    place.id = id;
    place.made = status == HFR_SUCCESS ? 1 : 2;
    return outcome_.check(status, "get_unique_id", nullptr);
  }
  // Rank 0 may be dead; the others of this job then have nothing to join.
  const uint64_t until = now_ns() + timeout_ms_ * uint64_t{1'000'000};
  while (place.made == 0 && now_ns() < until) sleep_us(200);
  if (place.made != 1) {
    outcome_.fail(HFR_REMOTE_ERROR, "exchange of the id", "rank 0 gave no id");
    return false;
  }
  id = place.id;
  return true;
}

bool Rank::join_in_growth() {
  const int idx = rank_ - num_first_;
  while (idx >= plan_.new_ranks_before(next_growth_ + 1)) ++next_growth_;
  Page::Id& place = page_->growths[next_growth_];
  while (place.made == 0) {
    if (page_->header.nobody_grows != 0) return false;  // not needed, and well
    sleep_us(200);
  }
  watch_.phase(Phase::kGrowing);
  if (place.made != 1) {
    outcome_.fail(HFR_REMOTE_ERROR, "exchange of the id", "no member gave an id");
    return false;
  }
  const auto first = static_cast<int>(place.num_members);
  const int rank = first + idx - plan_.new_ranks_before(next_growth_);
  const int num_ranks = first + plan_.growths()[next_growth_].num_new;
  const hfr_unique_id_t id = place.id;
  ++next_growth_;
  return join(&id, num_ranks, rank);
}

bool Rank::join(const hfr_unique_id_t* id, int num_ranks, int rank) {
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.timeout_ms = timeout_ms_;
  options.non_blocking = non_blocking_ ? 1 : 0;
  const hfr_status_t status = watch_.call(1, 1'000, [&] {
    hfr_status_t result = id != nullptr ? hfr_comm_init_rank(&comm_, num_ranks, id, rank, &options)
                                        : hfr_comm_init_env(&comm_, &options);
    while (result == HFR_IN_PROGRESS) {
      sleep_us(200);
      if (hfr_comm_get_async_error(comm_, &result) != HFR_SUCCESS) break;
    }
    return result;
  });
  if (outcome_.check(status, "set-up", comm_)) return true;
  leave();
  return false;
}

void Rank::begin_training() {
  counts_.since_ns = now_ns();
  last_ = false;
}

void Rank::train() {
  bool well = true;
  int barren = 0;  // recoveries since the last step: what fails for good fails again
  while (well && !last_) {
    limit_.lower_when_due(watch_.steps());
    const Step step = plan_.step(step_);
    well = sum(step, comm_, members_, &last_);
    if (well) {
      barren = 0;
      ++step_;
      watch_.count_step();
      counts_.until_ns = now_ns();
      if (spoil_ == "hang" && rank_ == 0 && watch_.steps() == 3)
        watch_.call(0, 0, [] { return pause(); });
      if (!last_) well = change_after(step);
    }
    if (!well && may_recover_ && !ended_ && barren++ < kMostBarren) well = recover();
  }
  watch_.phase(Phase::kEnding);
  if (!well) return;
  outcome_.check(watch_.call(1, 2'000, [&] { return hfr_comm_finalize(comm_); }), "finalize",
                 comm_);
}

void Rank::leave() {
  if (comm_ == nullptr) return;
  const hfr_status_t status = watch_.call(1, 3'000, [&] { return hfr_comm_destroy(comm_); });
  comm_ = nullptr;
  outcome_.check(status, "destroy", nullptr);
}

bool Rank::sum(const Step& step, hfr_comm_t comm, const std::vector<int>& members, bool* wished) {
  const bool wish = page_->header.stop != 0 && watch_.steps() >= 3;
  const bool spoiled = spoil_ == "sum" && rank_ == 0 && watch_.steps() == 2;
  switch (summer_.sum(step, comm, members, wish, wished, spoiled)) {
    case Summer::Result::kRight:
      return true;
    case Summer::Result::kFailed:
      return false;
    case Summer::Result::kWrong:
      break;
  }
  end_wrong();
}

void Rank::end_wrong() {
  report("");
  _exit(1);
}

std::string Rank::what_is_left() {
  if (spoil_ == "descriptor") [[maybe_unused]]
    const int leaked = dup(0);
  if (spoil_ == "process" && fork() == 0) {
    while (true) pause();
  }
  summer_.end();
  std::string left;
  for (const Descriptor& now : open_descriptors()) {
    const bool known = std::any_of(before_.begin(), before_.end(), [&](const Descriptor& then) {
      return then.fd == now.fd && then.target == now.target;
    });
    if (!known) left += "descriptor of " + now.target + "; ";
  }
  // A thread that was joined may be listed for a moment more.
  const uint64_t until = now_ns() + 10'000'000'000;
  while (count_threads() > 1 && now_ns() < until) sleep_us(1'000);
  if (count_threads() > 1) left += std::to_string(count_threads() - 1) + " threads; ";
  if (maps_shared_memory()) left += "a mapping of shared memory; ";
  return left;
}

void Rank::report(const std::string& left) {
  counts_.steps = watch_.steps();
  counts_.latest_ms = watch_.latest_ms();
  counts_.limited = limit_.was_lowered();
  outcome_.print(counts_, members_, left);
}

}  // namespace hfr_tests

int main(int argc, char** argv) {
  try {
    return hfr_tests::Rank(hfr_tests::Arguments(argc, argv)).run();
  } catch (const std::bad_alloc&) {  // this program's own, under a limit
    hfr_tests::give_up("no memory");
  }
}
