// A rank that dies at a chosen instruction of an all-reduce. Its process is single-stepped from the
// call on (ptrace) and killed after so many instructions; the other ranks must have the right sum
// or an error that names it, and go on as a communicator of their own. The points are spread over
// the whole call, a random number of instructions apart that differs from run to run, so that what
// lies between any two steps of a path is met sooner or later: after a post was written and before
// it is read, after a chunk was sent and before the answer comes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "forked_ranks.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_tests {
namespace {

using Clock = ForkedRanks::Clock;

// Nobody should come near it, as a killed rank's death is told at once.
constexpr uint32_t kTimeoutMs = 120'000;
// A call that takes longer in steps does not end.
constexpr auto kSteppingTime = std::chrono::seconds(60);
// For each of two victims; HFREDUCE_TEST_KILL_POINTS sets another number.
constexpr int kPoints = 12;
// Before the call that is stepped, so that connections and memory are there.
constexpr int kCallsBefore = 3;

struct Call {
  const char* name;
  int nodes;
  int ranks_per_node;
  size_t count;  // of floats
  bool shared = false;
  size_t chunk_bytes = 0;  // 0: chosen
  const char* forest = "auto";
  int num_ranks() const { return nodes * ranks_per_node; }
};
void PrintTo(const Call& call, std::ostream* out) { *out << call.name; }

// Sums, out of place, of the number that each rank has in the first communicator, and one.
class Sums {
 public:
  Sums(const Call& call, hfr_comm_t comm, int rank)
      : count_(call.count), value_(static_cast<float>(rank + 1)), own_(2 * call.count) {
    if (!call.shared) return;
    void* memory = nullptr;
    if (hfr_mem_alloc(comm, &memory, own_.size() * sizeof(float)) != HFR_SUCCESS) _exit(4);
    data_ = static_cast<float*>(memory);
  }

  void fill() {
    std::fill_n(data_, count_, value_);
    std::fill_n(data_ + count_, count_, -1.0f);
  }
  hfr_status_t reduce(hfr_comm_t comm) {
    return hfr_all_reduce(data_, data_ + count_, count_, HFR_FLOAT32, HFR_SUM, comm, nullptr,
                          nullptr);
  }
  // `wrong` where it succeeds and does not come out as `sum`.
  hfr_status_t add(hfr_comm_t comm, float sum, std::string& wrong) {
    fill();
    const hfr_status_t status = reduce(comm);
    const float* result = data_ + count_;
    const bool right = std::all_of(result, result + count_, [&](float x) { return x == sum; });
    if (status == HFR_SUCCESS && !right) wrong = "wrong sum";
    return status;
  }
  void use_own_memory() { data_ = own_.data(); }

 private:
  const size_t count_;
  const float value_;
  std::vector<float> own_;
  float* data_ = own_.data();
};

float sum_without(const Call& call, int rank) {
  const int n = call.num_ranks();
  return static_cast<float>(n * (n + 1) / 2 - (rank + 1));
}

// What a rank that is not struck does: it adds until that fails, then goes on with who is left.
// Says "end ", and what is wrong.
void survive(const Call& call, Sums& sums, hfr_comm_t comm, int victim, int out) {
  std::string wrong;
  const float sum = sum_without(call, -1);
  hfr_status_t status = HFR_SUCCESS;
  while (status == HFR_SUCCESS && wrong.empty()) status = sums.add(comm, sum, wrong);
  const std::string error = hfr_get_last_error(comm);
  const std::string name = "rank " + std::to_string(victim);
  if (wrong.empty() && status != HFR_REMOTE_ERROR && status != HFR_TIMEOUT) {
    wrong = "status " + std::to_string(status) + ": " + error;
  }
  if (wrong.empty() && error.find(name) == std::string::npos) wrong = "it is not named: " + error;
  hfr_comm_t left = nullptr;
  if (wrong.empty() && hfr_comm_shrink(comm, nullptr, &left) != HFR_SUCCESS) {
    wrong = std::string("shrink: ") + hfr_get_last_error(comm);
  }
  sums.use_own_memory();
  if (wrong.empty() && sums.add(left, sum_without(call, victim), wrong) != HFR_SUCCESS) {
    wrong = std::string("those that are left: ") + hfr_get_last_error(left);
  }
  hfr_comm_destroy(left);
  hfr_comm_destroy(comm);
  say(out, "end " + wrong);
}

void run_rank(const Call& call, int rank, const hfr_unique_id_t& id, int victim, int out) {
  const std::string host_id = "node" + std::to_string(rank / call.ranks_per_node);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.host_id = host_id.c_str();
  options.timeout_ms = kTimeoutMs;
  options.chunk_bytes = call.chunk_bytes;
  setenv("HFREDUCE_FOREST", call.forest, 1);
  hfr_comm_t comm = nullptr;
  if (hfr_comm_init_rank(&comm, call.num_ranks(), &id, rank, &options) != HFR_SUCCESS) {
    return say(out, std::string("end init: ") + hfr_get_last_error(nullptr));
  }
  Sums sums(call, comm, rank);
  std::string wrong;
  for (int i = 0; i < kCallsBefore && wrong.empty(); ++i) {
    if (sums.add(comm, sum_without(call, -1), wrong) != HFR_SUCCESS) wrong = "calls before";
  }
  if (!wrong.empty()) return say(out, "end " + wrong);
  if (rank != victim) return survive(call, sums, comm, victim, out);
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return say(out, "skip");
  say(out, "ready");
  sums.fill();
  raise(SIGSTOP);  // from here on it is stepped
  sums.reduce(comm);
  raise(SIGSTOP);
}

struct Stepped {
  uint64_t instructions = 0;
  bool possible = true;  // on this machine
};

// Steps `pid`, which is about to stop, through its call and kills it after so many instructions, or
// at the call's end.
Stepped step_and_kill(pid_t pid, uint64_t instructions) {
  Stepped stepped;
  const auto latest = Clock::now() + kSteppingTime;
  int status = 0;
  EXPECT_TRUE(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
  while (stepped.instructions < instructions) {
    stepped.possible = ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) == 0;
    if (!stepped.possible) break;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
        (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)) {
      ADD_FAILURE() << "the stepped rank ended or was stopped, waitpid() says " << status;
      break;
    }
    if (WSTOPSIG(status) == SIGSTOP) break;
    ++stepped.instructions;
    if (Clock::now() > latest) {
      ADD_FAILURE() << "the call does not end: " << stepped.instructions << " instructions";
      break;
    }
  }
  kill(pid, SIGKILL);
  return stepped;
}

// One life of a cluster.
Stepped run_trial(const Call& call, int victim, uint64_t instructions) {
  SCOPED_TRACE("rank " + std::to_string(victim) + " dies after " + std::to_string(instructions) +
               " instructions");
  const ForkedRanks ranks(call.num_ranks(), [&](int rank, const hfr_unique_id_t& id, int out) {
    run_rank(call, rank, id, victim, out);
  });
  std::string line;
  if (!ranks.read_until(victim, "", Clock::now() + std::chrono::seconds(60), line) ||
      line != "ready") {
    EXPECT_EQ(line, "skip");
    return {.possible = false};
  }
  const Stepped stepped = step_and_kill(ranks.pid(victim), instructions);
  for (int rank = 0; rank < call.num_ranks() && stepped.possible; ++rank) {
    if (rank == victim) continue;
    EXPECT_TRUE(ranks.read_until(rank, "end", Clock::now() + std::chrono::seconds(20), line))
        << "rank " << rank << " hangs";
    EXPECT_EQ(line, "end ") << "rank " << rank;
  }
  return stepped;
}

class KillPoints : public testing::TestWithParam<Call> {};

TEST_P(KillPoints, TheOthersKnowAndGoOn) {
  const Call& call = GetParam();
  const char* set = std::getenv("HFREDUCE_TEST_KILL_POINTS");
  const int points = set == nullptr ? kPoints : std::atoi(set);
  ASSERT_GT(points, 0) << "HFREDUCE_TEST_KILL_POINTS=" << set << " is no number of points";
  std::mt19937_64 random(std::random_device{}());
  for (int victim : {0, call.num_ranks() - 1}) {
    const auto [all, possible] = run_trial(call, victim, std::numeric_limits<uint64_t>::max());
    if (HasFailure()) return;
    if (!possible) GTEST_SKIP() << "processes cannot be stepped here (ptrace)";
    ASSERT_GT(all, 100u);
    RecordProperty("instructions of rank " + std::to_string(victim), std::to_string(all));
    for (int point = 0; point < points && !HasFailure(); ++point) {
      const uint64_t stretch = all / static_cast<uint64_t>(points) + 1;
      const uint64_t at = static_cast<uint64_t>(point) * stretch + 1 + random() % stretch;
      EXPECT_TRUE(run_trial(call, victim, at).possible);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Integration, KillPoints,
    testing::Values(Call{"Flat8B", 1, 2, 2}, Call{"Flat1KiB", 1, 3, 256},
                    Call{"FlatCopied18KiB", 1, 2, 4'500}, Call{"FlatRead8KiB", 1, 2, 2'048, true},
                    Call{"DirectRead100KiB", 1, 3, 25'000, true},
                    Call{"Direct100KiB", 1, 2, 25'000}, Call{"Exchange8B", 2, 1, 2},
                    Call{"Exchange20KiB", 2, 1, 5'000}, Call{"Exchange100KiB", 2, 1, 25'000},
                    Call{"ThreeNodes1KiB", 3, 1, 256}, Call{"Lanes8B", 2, 2, 2},
                    Call{"LanesRead20KiB", 2, 2, 5'000, true},
                    // Of several small chunks: no butterfly.
                    Call{"Ring8KiB", 3, 1, 2'048, false, 4'096, "ring"},
                    Call{"Tree8KiB", 4, 1, 2'048, false, 4'096, "tree"},
                    Call{"TreeRead8KiB", 2, 2, 2'048, true, 4'096, "tree"}),
    [](const auto& call) { return std::string(call.param.name); });

}  // namespace
}  // namespace hfr_tests
