// Training as it survives: real processes sum in a loop, some are killed or stopped at random
// moments, the others shrink and go on, and new processes take the places of the killed ones. Every
// sum is checked against what the members of that
// moment gave.
//
// The ranks tell the driver how far they are in a page that all share; nothing here waits for a
// clock, but to tell a hang.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRanks = 8;
constexpr auto kHang = std::chrono::seconds(100);

struct Job {
  int nodes = 2;
  int ranks_per_node = 4;
  bool may_stick = false;  // ranks look whether the driver wants them to shrink
  int num_ranks() const { return nodes * ranks_per_node; }
  unsigned all() const { return (1u << num_ranks()) - 1; }
};

// Shared by the driver and the ranks.
struct Page {
  hfr_unique_id_t id;
  std::atomic<bool> id_made{false};
  std::atomic<bool> stop{false};
  std::atomic<bool> stuck{false};  // a rank was stopped: the others shrink
  std::atomic<uint32_t> shrink_ms{0};
  std::atomic<bool> newcomer{false};  // a process wants to join
  hfr_unique_id_t growth_id;
  std::atomic<int> grown_size{0};  // of the communicator that it joins; 0: no id yet
  struct Rank {
    std::atomic<uint64_t> steps{0};    // sums that were checked, ever
    std::atomic<unsigned> members{0};  // of its communicator, by first rank
    std::atomic<int> shrinks{0};
    std::atomic<bool> left_behind{false};
    char error[512] = "";
  } ranks[kMaxRanks];
};

class Rank {
 public:
  Rank(const Job& job, Page& page, int rank)
      : job_(job), page_(page), mine_(page.ranks[rank]), rank_(rank) {}

  // The exit code: 0 when all sums were right.
  int train() {
    join();
    members_ = job_.all();
    mine_.members = members_;
    return sum_up();
  }
  // In the place of one that was killed.
  int train_as_newcomer() {
    while (page_.grown_size == 0) std::this_thread::yield();
    const int size = page_.grown_size;
    init(page_.growth_id, size, size - 1);
    page_.grown_size = 0;
    page_.newcomer = false;
    step_ = UINT64_MAX;  // the others know
    if (!agree()) fail("the first operation failed");
    return sum_up();
  }

 private:
  int sum_up() {
    while (true) {
      if (!sum_step()) {
        if (!recover()) return 0;
        continue;
      }
      ++step_;
      ++mine_.steps;
      if (last_) break;
      if (grows_ && !grow()) fail("growing: %s", hfr_get_last_error(comm_));
    }
    if (hfr_comm_finalize(comm_) != HFR_SUCCESS) fail("finalize: %s", hfr_get_last_error(comm_));
    hfr_comm_destroy(comm_);
    return 0;
  }

  [[noreturn]] __attribute__((format(printf, 2, 3))) void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(mine_.error, sizeof(mine_.error), format, arguments);
    va_end(arguments);
    _exit(1);
  }

  void join() {
    if (rank_ == 0) {
      if (hfr_get_unique_id(&page_.id) != HFR_SUCCESS) fail("no id");
      page_.id_made = true;
    }
    while (!page_.id_made) std::this_thread::yield();
    init(page_.id, job_.num_ranks(), rank_);
  }

  void init(const hfr_unique_id_t& id, int num_ranks, int rank) {
    const std::string host_id = "node" + std::to_string(rank_ / job_.ranks_per_node);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = host_id.c_str();
    options.timeout_ms = 60'000;
    if (hfr_comm_init_rank(&comm_, num_ranks, &id, rank, &options) != HFR_SUCCESS) {
      fail("init: %s", hfr_get_last_error(nullptr));
    }
  }

  static float input(int rank, uint64_t step) {
    return static_cast<float>((static_cast<uint64_t>(rank) * 31 + step * 7) % 64);
  }

  // False: the operation failed.
  bool sum_step() {
    std::mt19937 random(static_cast<unsigned>(step_));
    const size_t count = random() % 2 == 0 ? 1 + random() % 100 : 1 + random() % 60'000;
    std::vector<float>& data = data_;
    data.assign(count + 2, input(rank_, step_));
    data[count] = page_.stop ? 1.0f : 0.0f;
    data[count + 1] = page_.newcomer ? 1.0f : 0.0f;
    hfr_request_t request = 0;
    if (hfr_all_reduce(data.data(), data.data(), data.size(), HFR_FLOAT32, HFR_SUM, comm_, nullptr,
                       job_.may_stick ? &request : nullptr) != HFR_SUCCESS) {
      return false;
    }
    if (job_.may_stick && !complete(request)) return false;
    float want = 0;
    for (int r = 0; r < job_.num_ranks(); ++r) {
      if ((members_ >> r & 1) != 0) want += input(r, step_);
    }
    for (size_t i = 0; i < count; ++i) {
      if (data[i] != want) {
        fail("step %llu, element %zu of %zu: %g, not %g", static_cast<unsigned long long>(step_), i,
             count, static_cast<double>(data[i]), static_cast<double>(want));
      }
    }
    last_ = data[count] > 0;
    grows_ = data[count + 1] > 0;
    return true;
  }

  // All members of this moment come here after the same step.
  bool grow() {
    int size = 0;
    int me = -1;
    if (hfr_comm_count(comm_, &size) != HFR_SUCCESS || hfr_comm_rank(comm_, &me) != HFR_SUCCESS)
      return false;
    if (me == 0) {
      if (hfr_comm_get_unique_id(comm_, &page_.growth_id) != HFR_SUCCESS) return false;
      page_.grown_size = size + 1;
    }
    hfr_comm_t child = nullptr;
    if (hfr_comm_grow(comm_, size + 1, &child) != HFR_SUCCESS) return false;
    hfr_comm_destroy(comm_);
    comm_ = child;
    return agree();
  }

  // False: it failed, or hangs on a rank that was stopped. Shrinking then ends it.
  bool complete(hfr_request_t request) {
    int done = 0;
    while (done == 0) {
      if (hfr_test(comm_, request, &done) != HFR_SUCCESS) return false;
      if (page_.stuck && members_ == job_.all()) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
  }

  // Shrinks until survivors have agreed who they are and where they go on. False: they went on
  // without this rank.
  bool recover() {
    while (true) {
      hfr_comm_t child = nullptr;
      hfr_shrink_options_t options = HFR_SHRINK_OPTIONS_INIT;
      options.timeout_ms = page_.shrink_ms;
      const hfr_status_t status = hfr_comm_shrink(comm_, &options, &child);
      if (status != HFR_SUCCESS) {
        snprintf(mine_.error, sizeof(mine_.error), "shrink: %s", hfr_get_last_error(comm_));
        if (status != HFR_REMOTE_ERROR && status != HFR_TIMEOUT) _exit(1);
        hfr_comm_destroy(comm_);
        mine_.left_behind = true;
        return false;
      }
      hfr_comm_destroy(comm_);
      comm_ = child;
      ++mine_.shrinks;
      if (agree()) return true;
    }
  }

  bool agree() {
    const uint64_t bit = uint64_t{1} << rank_;
    uint64_t members = 0;
    uint64_t step = 0;
    const auto reduce = [&](const uint64_t& in, uint64_t& out, hfr_op_t op) {
      return hfr_all_reduce(&in, &out, 1, HFR_UINT64, op, comm_, nullptr, nullptr) == HFR_SUCCESS;
    };
    if (!reduce(bit, members, HFR_SUM) || !reduce(step_, step, HFR_MIN)) return false;
    if (step_ != UINT64_MAX && step + 1 < step_)
      fail("another rank is %d steps behind", static_cast<int>(step_ - step));
    step_ = step;
    members_ = static_cast<unsigned>(members);
    mine_.members = members_;
    return true;
  }

  const Job& job_;
  Page& page_;
  Page::Rank& mine_;
  const int rank_;
  hfr_comm_t comm_ = nullptr;
  unsigned members_ = 0;
  uint64_t step_ = 0;
  bool last_ = false;
  bool grows_ = false;
  std::vector<float> data_;  // an operation may have it until the shrink
};

class Driver {
 public:
  explicit Driver(const Job& job) : job_(job) {
    void* memory =
        mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    page_ = new (memory) Page();
    for (int rank = 0; rank < job.num_ranks(); ++rank) {
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(Rank(job, *page_, rank).train());
      }
      pids_.push_back(pid);
    }
    alive_ = job.all();
  }
  ~Driver() {
    for (pid_t pid : pids_) {
      if (pid <= 0) continue;
      ::kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    munmap(page_, sizeof(Page));
  }

  Page& page() { return *page_; }
  unsigned alive() const { return alive_; }
  bool lives(int rank) const { return (alive_ >> rank & 1) != 0; }

  // False: a hang, or a rank that gave up.
  template <typename Done>
  bool until(const char* what, Done&& done) {
    const auto latest = Clock::now() + kHang;
    while (!done()) {
      for (int rank = 0; rank < job_.num_ranks(); ++rank) {
        if (!lives(rank) || waitpid(pids_[at(rank)], nullptr, WNOHANG) == 0) continue;
        pids_[at(rank)] = 0;
        ADD_FAILURE() << "rank " << rank << " ended: " << page_->ranks[rank].error;
        return false;
      }
      if (Clock::now() > latest) {
        ADD_FAILURE() << "hangs: " << what << progress();
        return false;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
  }
  // Every living rank has made so many steps more.
  bool advance(uint64_t steps) {
    uint64_t from[kMaxRanks];
    for (int r = 0; r < kMaxRanks; ++r) from[r] = page_->ranks[r].steps;
    return until("steps", [&] {
      for (int r = 0; r < job_.num_ranks(); ++r) {
        if (lives(r) && page_->ranks[r].steps < from[r] + steps) return false;
      }
      return true;
    });
  }
  // The living ranks are the members of all their communicators.
  bool settled() {
    return until("settling", [&] {
      for (int r = 0; r < job_.num_ranks(); ++r) {
        if (lives(r) && page_->ranks[r].members != alive_) return false;
      }
      return true;
    });
  }

  void kill(int rank) {
    alive_ &= ~(1u << rank);
    ::kill(pids_[at(rank)], SIGKILL);
    waitpid(pids_[at(rank)], nullptr, 0);
    pids_[at(rank)] = 0;
  }
  // A new process for a rank that was killed, when the others have settled.
  void replace(int rank) {
    page_->ranks[rank].members = 0;
    page_->newcomer = true;
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      _exit(Rank(job_, *page_, rank).train_as_newcomer());
    }
    pids_[at(rank)] = pid;
    alive_ |= 1u << rank;
  }
  void signal(int rank, int number) { ::kill(pids_[at(rank)], number); }
  void give_up_on(int rank) { alive_ &= ~(1u << rank); }

  // Tells the ranks to end and takes their exit codes.
  void finish() {
    page_->stop = true;
    for (int rank = 0; rank < job_.num_ranks(); ++rank) {
      if (lives(rank)) await_end(rank);
    }
  }
  void await_end(int rank) {
    int status = -1;
    const auto latest = Clock::now() + kHang;
    while (waitpid(pids_[at(rank)], &status, WNOHANG) == 0) {
      if (Clock::now() > latest) {
        ADD_FAILURE() << "rank " << rank << " does not end" << progress();
        return;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    pids_[at(rank)] = 0;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "rank " << rank << ": " << page_->ranks[rank].error;
  }

 private:
  static size_t at(int rank) { return static_cast<size_t>(rank); }
  std::string progress() const {
    std::string text;
    for (int r = 0; r < job_.num_ranks(); ++r) {
      const Page::Rank& rank = page_->ranks[r];
      text += "\n  rank " + std::to_string(r) + (lives(r) ? "" : " (gone)") + ": step " +
              std::to_string(rank.steps) + ", members " + std::to_string(rank.members) + " " +
              rank.error;
    }
    return text;
  }

  const Job job_;
  Page* page_;
  std::vector<pid_t> pids_;
  unsigned alive_ = 0;
};

struct Trial {
  const char* name;
  int nodes;
  int ranks_per_node;
  unsigned seed;
};

class Training : public testing::TestWithParam<Trial> {};

// Six of eight are killed one after the other: some while all is well, some while the others still
// shrink.
TEST_P(Training, GoesOnWithTheSurvivors) {
  const Trial& trial = GetParam();
  Driver driver(Job{.nodes = trial.nodes, .ranks_per_node = trial.ranks_per_node});
  std::mt19937 random(trial.seed);
  ASSERT_TRUE(driver.advance(3));
  for (int kills = 0; kills < 6; ++kills) {
    const bool during_shrink = kills > 0 && random() % 2 == 0;
    if (!during_shrink) {
      ASSERT_TRUE(driver.settled() && driver.advance(1 + random() % 10));
    }
    const auto strike = Clock::now() + std::chrono::microseconds(random() % 5'000);
    while (Clock::now() < strike) std::this_thread::yield();
    int victim = static_cast<int>(random() % kMaxRanks);
    while (!driver.lives(victim)) victim = (victim + 1) % kMaxRanks;
    driver.kill(victim);
  }
  ASSERT_TRUE(driver.settled() && driver.advance(3));
  driver.finish();
}

INSTANTIATE_TEST_SUITE_P(Seeds, Training,
                         testing::Values(Trial{"OneNodeA", 1, 8, 1}, Trial{"OneNodeB", 1, 8, 2},
                                         Trial{"TwoNodesA", 2, 4, 3}, Trial{"TwoNodesB", 2, 4, 4},
                                         Trial{"FourNodes", 4, 2, 5}, Trial{"EightNodes", 8, 1, 6}),
                         [](const auto& trial) { return std::string(trial.param.name); });

// Rank 0's too, which then is the last one; and two that are missing at a time.
TEST(Replaced, NewProcessesTakeThePlacesOfKilledOnes) {
  Driver driver(Job{.nodes = 2, .ranks_per_node = 3});
  const std::vector<std::vector<int>> killed = {{0}, {5}, {1, 0}, {2, 3}};
  for (const std::vector<int>& victims : killed) {
    ASSERT_TRUE(driver.settled() && driver.advance(3));
    for (int victim : victims) driver.kill(victim);
    ASSERT_TRUE(driver.settled() && driver.advance(1));
    for (int victim : victims) {
      driver.replace(victim);
      ASSERT_TRUE(driver.settled() && driver.advance(3));
    }
  }
  EXPECT_EQ(driver.alive(), 0b111111u);
  driver.finish();
}

TEST(Stopped, AStopShorterThanTheDeadlineIsRiddenOut) {
  Driver driver(Job{.nodes = 2, .ranks_per_node = 2});
  for (int victim : {0, 3}) {
    ASSERT_TRUE(driver.advance(3));
    driver.signal(victim, SIGSTOP);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    driver.signal(victim, SIGCONT);
  }
  ASSERT_TRUE(driver.advance(3));
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(driver.page().ranks[rank].shrinks, 0);
  driver.finish();
}

// Longer: the others go on without it, and it is told when it wakes up. Rank 0 would have convened.
TEST(Stopped, WhoStopsForLongerIsLeftBehindAndToldSo) {
  const Job job{.nodes = 2, .ranks_per_node = 2, .may_stick = true};
  const std::vector<int> victims = {0, 3};
  std::vector<std::unique_ptr<Driver>> drivers;  // at once: most of their time is waiting
  for (int victim : victims) {
    drivers.push_back(std::make_unique<Driver>(job));
    ASSERT_TRUE(drivers.back()->advance(3));
    drivers.back()->signal(victim, SIGSTOP);
    drivers.back()->give_up_on(victim);
    drivers.back()->page().shrink_ms = 40'000;  // the silent one uses half of it up
    drivers.back()->page().stuck = true;
  }
  for (size_t i = 0; i < victims.size(); ++i) {
    ASSERT_TRUE(drivers[i]->settled() && drivers[i]->advance(3));
    drivers[i]->page().shrink_ms = 200;  // it waits for nobody
    drivers[i]->signal(victims[i], SIGCONT);
  }
  for (size_t i = 0; i < victims.size(); ++i) {
    const int victim = victims[i];
    drivers[i]->await_end(victim);
    EXPECT_TRUE(drivers[i]->page().ranks[victim].left_behind);
    ASSERT_TRUE(drivers[i]->advance(3));
    drivers[i]->finish();
  }
}

}  // namespace
}  // namespace hfr_tests
