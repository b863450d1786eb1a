// How long set-up, suspending, resuming, splitting, growing and shrinking take, and what a
// communicator costs each rank while it lives and while it is suspended, as the number of ranks
// grows: all ranks on this machine, as threads of one process and as processes. Through the public
// C interface only.
//
//   bench_setup [--ranks-per-node N] [--max-threads N] [--max-processes N]
//
// Each line is of 5 fresh communicators: medians, and of some times least and most. A time is the
// slowest rank's, who begin together. Memory is the growth of the proportional set size (shared
// pages count once among those who map them) since before the first call, divided by the number of
// ranks; so are descriptors and threads. They are counted after set-up and one small all-reduce,
// and once all ranks have suspended.
#include <hfreduce/hfreduce.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Holdings {
  double pss_kib = 0;
  double files = 0;
  double threads = 0;

  static Holdings now();
  Holdings since(const Holdings& before) const {
    return {pss_kib - before.pss_kib, files - before.files, threads - before.threads};
  }
  void add(const Holdings& other) {
    pss_kib += other.pss_kib;
    files += other.files;
    threads += other.threads;
  }
};

struct Cost {
  double set_up_ms = 0;
  double suspend_ms = 0;
  double resume_ms = 0;
  double split_ms = 0;   // all ranks, one color
  double grow_ms = 0;    // all but one, whom the last joins
  double shrink_ms = 0;  // nobody gone: the calls and a communicator as large
  double tear_down_ms = 0;
  Holdings live;
  Holdings suspended;

  void take_slowest(const Cost& other) {
    for (double Cost::*time :
         {&Cost::set_up_ms, &Cost::suspend_ms, &Cost::resume_ms, &Cost::split_ms, &Cost::grow_ms,
          &Cost::shrink_ms, &Cost::tear_down_ms}) {
      this->*time = std::max(this->*time, other.*time);
    }
  }
};

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double pss_kib() {
  std::ifstream file("/proc/self/smaps_rollup");
  std::string word;
  double value = 0;
  while (file >> word) {
    if (word == "Pss:" && file >> value) return value;
  }
  throw std::runtime_error("/proc/self/smaps_rollup has no Pss");
}

double entries(const char* folder) {
  const std::filesystem::directory_iterator first(folder);
  return static_cast<double>(std::distance(begin(first), end(first)));
}

Holdings Holdings::now() {
  return {::pss_kib(), entries("/proc/self/fd"), entries("/proc/self/task")};
}

void check(hfr_status_t status, hfr_comm_t comm) {
  if (status == HFR_SUCCESS) return;
  throw std::runtime_error(hfr_get_last_error(comm));
}

// All ranks of `comm` but the last make a part of it, which grows by that one.
double grow_ms(hfr_comm_t comm, int rank, int num_ranks, const hfr_comm_options_t& options) {
  const bool joins = rank == num_ranks - 1;
  hfr_comm_t part = nullptr;
  check(hfr_comm_split(comm, joins ? HFR_SPLIT_NOCOLOR : 0, rank, &part), comm);
  hfr_unique_id_t id{};
  if (rank == 0) check(hfr_comm_get_unique_id(part, &id), part);
  // To whom joins: a sum with zeros. Nobody begins before it is there.
  check(hfr_all_reduce(&id, &id, sizeof(id), HFR_UINT8, HFR_SUM, comm, nullptr, nullptr), comm);
  hfr_comm_t grown = nullptr;
  const double start = now_ms();
  if (joins) {
    check(hfr_comm_init_rank(&grown, num_ranks, &id, rank, &options), nullptr);
  } else {
    check(hfr_comm_grow(part, num_ranks, &grown), part);
  }
  const double time = now_ms() - start;
  for (hfr_comm_t child : {grown, part}) {
    if (child == nullptr) continue;
    check(hfr_comm_finalize(child), child);
    check(hfr_comm_destroy(child), nullptr);
  }
  return time;
}

// One rank's life; `meet()` waits for the others before and after it looks at what it holds.
template <typename Meet>
Cost live(const hfr_unique_id_t& id, int rank, int num_ranks, int ranks_per_node, Meet&& meet) {
  const std::string host_id = "node" + std::to_string(rank / ranks_per_node);
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.host_id = host_id.c_str();
  Cost cost;
  meet();
  const Holdings before = Holdings::now();
  meet();
  double start = now_ms();
  hfr_comm_t comm = nullptr;
  check(hfr_comm_init_rank(&comm, num_ranks, &id, rank, &options), nullptr);
  cost.set_up_ms = now_ms() - start;
  const auto sum = [&] {
    double value = 1;
    check(hfr_all_reduce(&value, &value, 1, HFR_FLOAT64, HFR_SUM, comm, nullptr, nullptr), comm);
    if (value != num_ranks) throw std::runtime_error("the sum is wrong");
    meet();
  };
  sum();
  cost.live = Holdings::now().since(before);
  meet();
  start = now_ms();
  check(hfr_comm_suspend(comm), comm);
  cost.suspend_ms = now_ms() - start;
  meet();
  cost.suspended = Holdings::now().since(before);
  meet();
  start = now_ms();
  check(hfr_comm_resume(comm), comm);
  cost.resume_ms = now_ms() - start;
  sum();
  hfr_comm_t child = nullptr;
  start = now_ms();
  check(hfr_comm_split(comm, 0, rank, &child), comm);
  cost.split_ms = now_ms() - start;
  check(hfr_comm_finalize(child), child);
  check(hfr_comm_destroy(child), nullptr);
  meet();
  cost.grow_ms = grow_ms(comm, rank, num_ranks, options);
  meet();
  start = now_ms();
  check(hfr_comm_shrink(comm, nullptr, &child), comm);
  cost.shrink_ms = now_ms() - start;
  check(hfr_comm_destroy(comm), nullptr);
  meet();
  start = now_ms();
  check(hfr_comm_finalize(child), child);
  check(hfr_comm_destroy(child), nullptr);
  cost.tear_down_ms = now_ms() - start;
  return cost;
}

// The slowest rank's times; the growth of the whole process counted once.
Cost run_threads(int num_ranks, int ranks_per_node) {
  hfr_unique_id_t id;
  check(hfr_get_unique_id(&id), nullptr);
  std::barrier gate(num_ranks);
  std::vector<Cost> costs(static_cast<size_t>(num_ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      costs[static_cast<size_t>(rank)] =
          live(id, rank, num_ranks, ranks_per_node, [&] { gate.arrive_and_wait(); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  Cost worst = costs[0];
  for (const Cost& cost : costs) worst.take_slowest(cost);
  return worst;
}

// Meets through pipes: every process writes a byte, the parent answers when all have. Each meeting
// has its own answers, so that a fast process cannot take one that is another's.
class ProcessGate {
 public:
  explicit ProcessGate(int num_ranks) : num_ranks_(num_ranks) {
    bool ok = pipe(up_) == 0;
    for (auto& answers : down_) ok &= pipe(answers) == 0;
    if (!ok) throw std::runtime_error("pipe failed");
  }
  void operator()() {
    char byte = 0;
    if (write(up_[1], &byte, 1) != 1 || read(down_[meeting_++][0], &byte, 1) != 1) {
      throw std::runtime_error("another rank ended");
    }
  }
  // In the parent: all meetings.
  void serve() const {
    std::vector<char> bytes(static_cast<size_t>(num_ranks_));
    for (const auto& answers : down_) {
      for (char& byte : bytes) {
        if (read(up_[0], &byte, 1) != 1) throw std::runtime_error("a rank ended");
      }
      if (write(answers[1], bytes.data(), bytes.size()) != num_ranks_) {
        throw std::runtime_error("write failed");
      }
    }
  }

 private:
  static constexpr size_t kMeetings = 10;
  int num_ranks_;
  int up_[2];
  int down_[kMeetings][2];
  size_t meeting_ = 0;  // of this process
};

Cost run_processes(int num_ranks, int ranks_per_node) {
  hfr_unique_id_t id;
  ProcessGate gate(num_ranks);
  int results[2];
  if (pipe(results) != 0) throw std::runtime_error("pipe failed");
  int ids[2];
  if (pipe(ids) != 0) throw std::runtime_error("pipe failed");
  std::vector<pid_t> children;
  for (int rank = 0; rank < num_ranks; ++rank) {
    pid_t pid = fork();
    if (pid < 0) throw std::runtime_error("fork failed");
    if (pid > 0) {
      children.push_back(pid);
      continue;
    }
    try {
      // Rank 0 hosts the rendezvous, so it makes the id and hands copies out.
      if (rank == 0) {
        check(hfr_get_unique_id(&id), nullptr);
        for (int other = 1; other < num_ranks; ++other) {
          if (write(ids[1], &id, sizeof(id)) != sizeof(id)) std::_Exit(1);
        }
      } else if (read(ids[0], &id, sizeof(id)) != sizeof(id)) {
        std::_Exit(1);
      }
      Cost cost = live(id, rank, num_ranks, ranks_per_node, gate);
      std::_Exit(write(results[1], &cost, sizeof(cost)) == sizeof(cost) ? 0 : 1);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      std::_Exit(1);
    }
  }
  gate.serve();
  Cost total;
  for (int rank = 0; rank < num_ranks; ++rank) {
    Cost cost;
    if (read(results[0], &cost, sizeof(cost)) != sizeof(cost)) {
      throw std::runtime_error("a rank ended");
    }
    total.take_slowest(cost);
    total.live.add(cost.live);
    total.suspended.add(cost.suspended);
  }
  for (pid_t pid : children) waitpid(pid, nullptr, 0);
  return total;
}

// In a process of its own, so that nothing is left over from the run before.
Cost run_fresh(Cost (*run)(int, int), int num_ranks, int ranks_per_node) {
  int result[2];
  if (pipe(result) != 0) throw std::runtime_error("pipe failed");
  pid_t pid = fork();
  if (pid == 0) {
    try {
      Cost cost = run(num_ranks, ranks_per_node);
      std::_Exit(write(result[1], &cost, sizeof(cost)) == sizeof(cost) ? 0 : 1);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::_Exit(1);
    }
  }
  close(result[1]);
  Cost cost;
  bool came = read(result[0], &cost, sizeof(cost)) == sizeof(cost);
  close(result[0]);
  waitpid(pid, nullptr, 0);
  if (!came) throw std::runtime_error("a run failed");
  return cost;
}

void print_runs(const char* kind, Cost (*run)(int, int), int most, int ranks_per_node) {
  constexpr int kRuns = 5;
  for (int ranks = 2; ranks <= most; ranks *= 2) {
    const int per_node = ranks_per_node == 0 ? ranks : std::min(ranks_per_node, ranks);
    std::vector<Cost> costs;
    for (int i = 0; i < kRuns; ++i) costs.push_back(run_fresh(run, ranks, per_node));
    const auto sorted = [&](double Cost::*field) {
      std::vector<double> values;
      for (const Cost& cost : costs) values.push_back(cost.*field);
      std::sort(values.begin(), values.end());
      return values;
    };
    const auto median = [&](double Cost::*field) { return sorted(field)[kRuns / 2]; };
    const auto print_spread = [&](double Cost::*field) {
      const std::vector<double> values = sorted(field);
      std::printf(" %7.1f %6.1f-%-6.1f", values[kRuns / 2], values.front(), values.back());
    };
    const auto print_holdings = [&](Holdings Cost::*when) {
      const auto per_rank = [&](double Holdings::*field) {
        std::vector<double> values;
        for (const Cost& cost : costs) values.push_back(cost.*when.*field / ranks);
        std::sort(values.begin(), values.end());
        return values[kRuns / 2];
      };
      std::printf(" | %6.0f %6.2f %6.2f", per_rank(&Holdings::pss_kib), per_rank(&Holdings::files),
                  per_rank(&Holdings::threads));
    };
    std::printf("%-9s %5d %5d", kind, ranks, (ranks + per_node - 1) / per_node);
    for (double Cost::*time : {&Cost::set_up_ms, &Cost::suspend_ms, &Cost::resume_ms})
      print_spread(time);
    std::printf(" %7.1f %7.1f %7.1f %7.1f", median(&Cost::split_ms), median(&Cost::grow_ms),
                median(&Cost::shrink_ms), median(&Cost::tear_down_ms));
    print_holdings(&Cost::live);
    print_holdings(&Cost::suspended);
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int ranks_per_node = 0;
  int max_threads = 256;
  int max_processes = 64;
  for (int i = 1; i + 1 < argc; i += 2) {
    const int value = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--ranks-per-node") == 0) ranks_per_node = value;
    if (std::strcmp(argv[i], "--max-threads") == 0) max_threads = value;
    if (std::strcmp(argv[i], "--max-processes") == 0) max_processes = value;
  }
  std::printf("%75s%32s |   of a rank, live    |   suspended\n", "", "");
  std::printf("%-9s %5s %5s %21s %21s %21s %7s %7s %7s %7s | %6s %6s %6s | %6s %6s %6s\n",
              "ranks as", "ranks", "nodes", "set-up ms, spread", "suspend ms, spread",
              "resume ms, spread", "split", "grow", "shrink", "end ms", "KiB", "files", "threads",
              "KiB", "files", "threads");
  try {
    print_runs("threads", run_threads, max_threads, ranks_per_node);
    print_runs("processes", run_processes, max_processes, ranks_per_node);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
