// Real processes that die, stop or abort at random moments of set-up, operation and tear-down.
// Every other rank must come back with an error that names the rank, within its deadline and a
// second, and leave nothing behind. Every other trial has metrics and checksums switched on.
//
// Each trial forks its ranks; a rank writes one line when it is through. The parent strikes one of
// them after a random time, waits for the others, and reads what they say.
#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "forked_ranks.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_tests {
namespace {

using Clock = ForkedRanks::Clock;

// A killed rank's death is told at once, so this deadline ends only what it kills before it has
// joined. A stopped rank is found by it.
constexpr uint32_t kTimeoutMs = 2'500;

struct Trial {
  int nodes = 1;
  int ranks_per_node = 2;
  int victim = 0;
  int signal = SIGKILL;
  double after_ms = 0;
  // A short life from set-up to tear-down, so that the strike may fall into the last too, or come
  // too late; else operations go on until the strike.
  bool whole_life = false;
  bool watched = false;  // with metrics to be asked for, and chunks checked
  int num_ranks() const { return nodes * ranks_per_node; }
};

int open_descriptors() {
  int count = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

// What a rank does until somebody is struck: a mixture of sizes, so that every path is hit, and now
// and then a new communicator, so that set-up and tear-down are too.
void run_rank(const Trial& trial, const hfr_unique_id_t& id, int rank, int out) {
  std::string host_id = "node" + std::to_string(rank / trial.ranks_per_node);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.host_id = host_id.c_str();
  options.timeout_ms = kTimeoutMs;
  std::vector<float> data(200'000, 1.0f);
  hfr_comm_t comm = nullptr;
  if (trial.watched) {
    setenv("HFREDUCE_METRICS", "127.0.0.1:0", 1);
    setenv("HFREDUCE_CHECK", "crc", 1);
  }
  int before = open_descriptors();
  say(out, "start");
  hfr_status_t status = hfr_comm_init_rank(&comm, trial.num_ranks(), &id, rank, &options);
  std::string error = status == HFR_SUCCESS ? "" : hfr_get_last_error(nullptr);
  std::mt19937 random(99);
  for (int op = 0; status == HFR_SUCCESS && !(trial.whole_life && op == 5); ++op) {
    size_t count = random() % 2 == 0 ? 1 + random() % 200 : 1 + random() % data.size();
    status = hfr_all_reduce(data.data(), data.data(), count, HFR_FLOAT32, HFR_MAX, comm, nullptr,
                            nullptr);
    if (status != HFR_SUCCESS) error = hfr_get_last_error(comm);
  }
  if (status == HFR_SUCCESS) {
    status = hfr_comm_finalize(comm);
    if (status != HFR_SUCCESS) error = hfr_get_last_error(comm);
  }
  if (comm != nullptr) hfr_comm_destroy(comm);
  int leaked = open_descriptors() - before;
  // The rendezvous of rank 0 was opened before.
  if (rank == 0) ++leaked;
  say(out, "end " + std::to_string(status) + " " + std::to_string(leaked) + " " + error);
}

void run_trial(const Trial& trial, int number) {
  SCOPED_TRACE("trial " + std::to_string(number) + ": " + std::to_string(trial.nodes) + "x" +
               std::to_string(trial.ranks_per_node) + ", rank " + std::to_string(trial.victim) +
               " gets signal " + std::to_string(trial.signal) + " after " +
               std::to_string(trial.after_ms) + " ms" + (trial.watched ? ", watched" : ""));
  const ForkedRanks ranks(trial.num_ranks(), [&](int rank, const hfr_unique_id_t& id, int out) {
    run_rank(trial, id, rank, out);
  });
  std::string line;
  for (int rank = 0; rank < trial.num_ranks(); ++rank) {
    ASSERT_TRUE(ranks.read_until(rank, "start", Clock::now() + std::chrono::seconds(60), line));
  }
  auto strike =
      Clock::now() + std::chrono::microseconds(static_cast<int64_t>(trial.after_ms * 1000));
  while (Clock::now() < strike) std::this_thread::yield();
  kill(ranks.pid(trial.victim), trial.signal);
  auto struck = Clock::now();
  // The machine may be busy with other tests: the promise is deadline + 1 s, the bound here leaves
  // room for being scheduled late, and a hang still shows.
  auto latest = struck + std::chrono::milliseconds(kTimeoutMs + 1000) + std::chrono::seconds(20);
  std::string victim_name = "rank " + std::to_string(trial.victim);
  for (int rank = 0; rank < trial.num_ranks(); ++rank) {
    if (rank == trial.victim) continue;
    ASSERT_TRUE(ranks.read_until(rank, "end", latest, line)) << "rank " << rank << " hangs";
    int status = 0, leaked = 0, used = 0;
    ASSERT_EQ(sscanf(line.c_str(), "end %d %d %n", &status, &leaked, &used), 2) << line;
    std::string error = line.substr(static_cast<size_t>(used));
    if (trial.whole_life && status == HFR_SUCCESS) continue;
    EXPECT_TRUE(status == HFR_TIMEOUT || status == HFR_REMOTE_ERROR)
        << "rank " << rank << ": " << line;
    EXPECT_NE(error.find(victim_name), std::string::npos) << "rank " << rank << " says: " << error;
    EXPECT_LE(leaked, 0) << "rank " << rank << " left descriptors open";
  }
}

void run_trials(unsigned seed, int count, int signal, bool whole_life) {
  std::mt19937 random(seed);
  for (int i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) {
    Trial trial;
    trial.nodes = 1 + static_cast<int>(random() % 3);
    trial.ranks_per_node = 1 + static_cast<int>(random() % 3);
    if (trial.num_ranks() == 1) trial.ranks_per_node = 2;
    trial.victim = static_cast<int>(random() % static_cast<unsigned>(trial.num_ranks()));
    trial.signal = signal;
    // Set-up takes a few milliseconds; a third of the strikes fall into it.
    trial.after_ms =
        random() % 3 == 0 ? (random() % 10'000) / 1000.0 : (random() % 80'000) / 1000.0;
    trial.whole_life = whole_life;
    trial.watched = i % 2 == 1;
    if (whole_life) trial.after_ms = (random() % 12'000) / 1000.0;
    run_trial(trial, i);
  }
}

// 200 trials, split so that CTest can run them side by side.
TEST(Failure, KilledAtRandomMomentsA) { run_trials(1, 40, SIGKILL, false); }
TEST(Failure, KilledAtRandomMomentsB) { run_trials(2, 40, SIGKILL, false); }
TEST(Failure, KilledInAWholeLife) { run_trials(5, 40, SIGKILL, true); }
TEST(Failure, StoppedAtRandomMomentsA) { run_trials(3, 30, SIGSTOP, false); }
TEST(Failure, StoppedAtRandomMomentsB) { run_trials(4, 30, SIGSTOP, false); }
TEST(Failure, StoppedInAWholeLife) { run_trials(6, 20, SIGSTOP, true); }

}  // namespace
}  // namespace hfr_tests
