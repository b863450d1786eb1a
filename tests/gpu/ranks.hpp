// Ranks that are processes of their own, on the GPUs that gpu.hpp gives them. The parent never
// touches CUDA, as a driver does not survive a fork.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "gpu.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_tests {

constexpr int kNoGpu = 77;
constexpr int kMostComms = 3;
// Also of set-up, which takes seconds where many tests share a GPU or a checker watches.
constexpr uint32_t kTimeoutMs = 30'000;

struct ProcessShape {
  int num_ranks = 1;
  int num_nodes = 1;
  int num_comms = 1;  // at most kMostComms
};

// Reads a line of `fd`; empty at the deadline or when the writer is gone.
inline std::string read_line(int fd, std::chrono::steady_clock::time_point deadline) {
  std::string line;
  while (true) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd entry{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&entry, 1, static_cast<int>(left.count())) <= 0) return "";
    char c = 0;
    if (read(fd, &c, 1) != 1) return "";
    if (c == '\n') return line;
    line += c;
  }
}

// Waits until an operation that began with `status` has failed: "<status> <sentence>", for
// Ranks::expect_named_when_killed().
inline std::string await_failure(hfr_comm_t comm, hfr_status_t status) {
  while (status == HFR_SUCCESS) hfr_comm_get_async_error(comm, &status);
  return std::to_string(status) + " " + hfr_get_last_error(comm);
}

class Ranks {
 public:
  using Say = std::function<void(const std::string&)>;
  using Comms = std::array<hfr_comm_t, kMostComms>;
  // Runs in the rank's process. What it returns is said at the end: "" when all went well.
  using Body = std::function<std::string(int rank, const Comms& comms, const Say& say)>;

  Ranks(const ProcessShape& shape, const Body& body) {
    int ids[2];
    EXPECT_EQ(pipe(ids), 0);
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      int lines[2];
      EXPECT_EQ(pipe(lines), 0);
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(rank, shape, ids, lines[1], body);
      }
      close(lines[1]);
      pids_.push_back(pid);
      lines_.push_back(lines[0]);
    }
    close(ids[0]);
    close(ids[1]);
  }
  ~Ranks() {
    for (pid_t pid : pids_) kill(pid, SIGKILL);
    for (pid_t pid : pids_) waitpid(pid, nullptr, 0);
    for (int fd : lines_) close(fd);
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  std::string line(int rank) {
    return read_line(lines_[static_cast<size_t>(rank)],
                     std::chrono::steady_clock::now() + std::chrono::seconds(60));
  }
  void strike(int rank) { kill(pids_[static_cast<size_t>(rank)], SIGKILL); }

  // Every rank says `word`, or skips for the same reason, which is returned.
  std::string expect_all_say(const std::string& word) {
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      const std::string said = line(static_cast<int>(rank));
      if (said.rfind("skip ", 0) == 0) return said.substr(5);
      EXPECT_EQ(said, word) << "rank " << rank;
    }
    return "";
  }
  // It is killed, and the others end with "<status> <sentence>" of an error that names it.
  void expect_named_when_killed(int victim) {
    strike(victim);
    using testing::StartsWith;
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      if (static_cast<int>(rank) == victim) continue;
      EXPECT_THAT(
          line(static_cast<int>(rank)),
          testing::AllOf(testing::AnyOf(StartsWith("end " + std::to_string(HFR_REMOTE_ERROR) + " "),
                                        StartsWith("end " + std::to_string(HFR_TIMEOUT) + " ")),
                         testing::HasSubstr("rank " + std::to_string(victim))))
          << "rank " << rank;
    }
  }

  // Every rank ends well, or skips for the same reason, which is returned.
  std::string expect_all_well() { return expect_all_say("end "); }

 private:
  [[noreturn]] static void run(int rank, const ProcessShape& shape, const int* ids, int out,
                               const Body& body) {
    auto say = [&](const std::string& text) {
      const std::string line = text + "\n";
      [[maybe_unused]] ssize_t written = write(out, line.data(), line.size());
    };
    if (!Cuda::get().missing.empty()) {
      say("skip " + Cuda::get().missing);
      _exit(kNoGpu);
    }
    use_gpu(rank);
    std::array<hfr_unique_id_t, kMostComms> id;
    if (rank == 0) {
      for (int c = 0; c < shape.num_comms; ++c) {
        if (hfr_get_unique_id(&id[static_cast<size_t>(c)]) != HFR_SUCCESS) _exit(3);
      }
      for (int i = 1; i < shape.num_ranks; ++i) {
        if (write(ids[1], id.data(), sizeof(id)) != sizeof(id)) _exit(3);
      }
    } else if (read(ids[0], id.data(), sizeof(id)) != sizeof(id)) {
      _exit(3);
    }
    const std::string host_id = "node" + std::to_string(rank * shape.num_nodes / shape.num_ranks);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.device = HFR_DEVICE_CUDA;
    options.timeout_ms = kTimeoutMs;
    options.host_id = host_id.c_str();
    Comms comms{};
    for (int c = 0; c < shape.num_comms; ++c) {
      const auto i = static_cast<size_t>(c);
      if (hfr_comm_init_rank(&comms[i], shape.num_ranks, &id[i], rank, &options) != HFR_SUCCESS) {
        say(std::string("init: ") + hfr_get_last_error(nullptr));
        _exit(2);
      }
    }
    const std::string end = body(rank, comms, say);
    for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
    say("end " + end);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }

  std::vector<pid_t> pids_;
  std::vector<int> lines_;
};

}  // namespace hfr_tests
