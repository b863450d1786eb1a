// Suspending and resuming with ranks as processes, which may be killed meanwhile.
#include <gtest/gtest.h>
#include <hfreduce/hfreduce.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "held.hpp"

namespace hfr_tests {
namespace {

// Four processes on two nodes. What a rank finds wrong is the driver's failure.
class Processes {
 public:
  static constexpr int kRanks = 4;
  struct Page {
    hfr_unique_id_t id;
    std::atomic<bool> id_made{false};
    std::atomic<int> suspended{0};
    std::atomic<bool> struck{false};
    Held before[kRanks];
    char wrong[kRanks][512] = {};
  };

  explicit Processes(void (*body)(Page&, int, hfr_comm_t)) {
    void* memory =
        mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    page_ = new (memory) Page();
    for (int rank = 0; rank < kRanks; ++rank) {
      pids_[rank] = fork();
      if (pids_[rank] != 0) continue;
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      hfr_comm_t comm = join(*page_, rank);
      body(*page_, rank, comm);
      check(*page_, rank, hfr_comm_destroy(comm), comm);
      _exit(0);
    }
  }
  ~Processes() {
    for (int rank = 0; rank < kRanks; ++rank) strike(rank);
    munmap(page_, sizeof(Page));
  }

  Page& page() { return *page_; }
  void strike(int rank) {
    if (pids_[rank] <= 0) return;
    kill(pids_[rank], SIGKILL);
    waitpid(pids_[rank], nullptr, 0);
    pids_[rank] = 0;
  }
  bool all_live() const {
    return std::none_of(std::begin(pids_), std::end(pids_), [](pid_t pid) {
      siginfo_t ended{};
      return waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
             ended.si_pid != 0;
    });
  }
  void expect_well() {
    for (int rank = 0; rank < kRanks; ++rank) {
      if (pids_[rank] == 0) continue;
      int status = -1;
      waitpid(pids_[rank], &status, 0);
      pids_[rank] = 0;
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << "rank " << rank << ": " << page_->wrong[rank];
    }
  }

  // In a rank.
  static void require(Page& page, int rank, bool right, const std::string& what) {
    if (right) return;
    snprintf(page.wrong[rank], sizeof(page.wrong[rank]), "%s", what.c_str());
    _exit(1);
  }
  static void check(Page& page, int rank, hfr_status_t status, hfr_comm_t comm) {
    if (status != HFR_SUCCESS) require(page, rank, false, hfr_get_last_error(comm));
  }
  static void check_sum(Page& page, int rank, hfr_comm_t comm, float want) {
    for (const size_t count : {size_t{1}, size_t{100'000}}) {
      std::vector<float> data(count, static_cast<float>(rank));
      check(page, rank,
            hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_SUM, comm, nullptr,
                           nullptr),
            comm);
      const auto right = std::count(data.begin(), data.end(), want);
      require(page, rank, right == static_cast<std::ptrdiff_t>(count), "a wrong sum");
    }
  }

 private:
  static hfr_comm_t join(Page& page, int rank) {
    // What the process keeps from its first communicator on is there already.
    hfr_comm_t first = nullptr;
    check(page, rank, hfr_comm_init_all(&first, 1, nullptr), nullptr);
    check(page, rank, hfr_comm_destroy(first), nullptr);
    page.before[rank] = Held::now();
    if (rank == 0) {
      check(page, rank, hfr_get_unique_id(&page.id), nullptr);
      page.id_made = true;
    }
    while (!page.id_made) std::this_thread::yield();
    const std::string host_id = "node" + std::to_string(rank / 2);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = host_id.c_str();
    options.timeout_ms = 120'000;
    hfr_comm_t comm = nullptr;
    check(page, rank, hfr_comm_init_rank(&comm, kRanks, &page.id, rank, &options), nullptr);
    return comm;
  }

  Page* page_ = nullptr;
  pid_t pids_[kRanks] = {};
};

using Page = Processes::Page;

TEST(SuspendProcesses, SumsAreRightAndNothingIsHeldMeanwhile) {
  Processes ranks([](Page& page, int rank, hfr_comm_t comm) {
    Processes::check_sum(page, rank, comm, 6);
    for (int time = 0; time < 3; ++time) {
      Processes::check(page, rank, hfr_comm_suspend(comm), comm);
      const Held& before = page.before[rank];
      const Held most{.files = before.files + 1, .threads = before.threads, .mappings = 0};
      const Held held = Held::at_last(most);
      std::ostringstream what;
      what << held << " are held, not " << most;
      Processes::require(page, rank, held.within(most), what.str());
      Processes::check(page, rank, hfr_comm_resume(comm), comm);
      Processes::check_sum(page, rank, comm, 6);
    }
    Processes::check(page, rank, hfr_comm_finalize(comm), comm);
  });
  ranks.expect_well();
}

TEST(SuspendProcesses, OneIsKilledMeanwhileAndTheOthersShrink) {
  for (const int victim : {0, 3}) {
    Processes ranks([](Page& page, int rank, hfr_comm_t comm) {
      Processes::check(page, rank, hfr_comm_suspend(comm), comm);
      ++page.suspended;
      while (!page.struck) usleep(1000);
      const hfr_status_t status = hfr_comm_resume(comm);
      Processes::require(page, rank, status == HFR_REMOTE_ERROR, hfr_get_last_error(comm));
      const std::string why = hfr_get_last_error(comm);
      Processes::require(page, rank, why.find("has ended") != std::string::npos, why);
      hfr_comm_t child = nullptr;
      Processes::check(page, rank, hfr_comm_shrink(comm, nullptr, &child), comm);
      float sum = static_cast<float>(rank);
      Processes::check(page, rank,
                       hfr_all_reduce(&sum, &sum, 1, HFR_FLOAT32, HFR_SUM, child, nullptr, nullptr),
                       child);
      Processes::require(page, rank, sum == 3 || sum == 6, "another sum than the survivors'");
      Processes::check(page, rank, hfr_comm_suspend(child), child);
      Processes::check(page, rank, hfr_comm_resume(child), child);
      Processes::check_sum(page, rank, child, sum);
      Processes::check(page, rank, hfr_comm_finalize(child), child);
      Processes::check(page, rank, hfr_comm_destroy(child), child);
    });
    while (ranks.page().suspended < Processes::kRanks && ranks.all_live()) usleep(1000);
    ranks.strike(victim);
    ranks.page().struck = true;
    ranks.expect_well();
  }
}

}  // namespace
}  // namespace hfr_tests
