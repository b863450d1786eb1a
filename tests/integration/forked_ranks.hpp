// Ranks that are processes of their own, forked by the test. Each has a pipe in which it says
// lines.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

class ForkedRanks {
 public:
  using Clock = std::chrono::steady_clock;
  // Runs in the rank's process, which ends with it.
  using Body = std::function<void(int rank, const hfr_unique_id_t& id, int out)>;

  // The id is made in rank 0's process, whose rendezvous it is, and travels through a pipe.
  ForkedRanks(int num_ranks, const Body& body) {
    int id_pipe[2];
    require(pipe(id_pipe) == 0, "pipe");
    for (int rank = 0; rank < num_ranks; ++rank) {
      int lines[2];
      require(pipe(lines) == 0, "pipe");
      const pid_t pid = fork();
      require(pid >= 0, "fork");
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(lines[0]);
        for (const Rank& other : ranks_) close(other.lines);
        hfr_unique_id_t id{};
        if (rank == 0) {
          if (hfr_get_unique_id(&id) != HFR_SUCCESS) _exit(3);
          for (int i = 1; i < num_ranks; ++i) {
            if (write(id_pipe[1], &id, sizeof(id)) != sizeof(id)) _exit(3);
          }
        } else if (read(id_pipe[0], &id, sizeof(id)) != sizeof(id)) {
          _exit(3);
        }
        close(id_pipe[0]);
        close(id_pipe[1]);
        body(rank, id, lines[1]);
        _exit(0);
      }
      close(lines[1]);
      ranks_.push_back({pid, lines[0]});
    }
    close(id_pipe[0]);
    close(id_pipe[1]);
  }
  ~ForkedRanks() {
    for (const Rank& rank : ranks_) {
      close(rank.lines);
      if (rank.pid <= 0) continue;
      kill(rank.pid, SIGKILL);
      waitpid(rank.pid, nullptr, 0);
    }
  }
  ForkedRanks(const ForkedRanks&) = delete;
  ForkedRanks& operator=(const ForkedRanks&) = delete;

  pid_t pid(int rank) const { return ranks_[static_cast<size_t>(rank)].pid; }
  // Waits until its process has ended. Status as of waitpid().
  int await_end(int rank) {
    int status = -1;
    Rank& of = ranks_[static_cast<size_t>(rank)];
    waitpid(of.pid, &status, 0);
    of.pid = 0;
    return status;
  }

  // Reads what `rank` says until a line begins with `word`; false at the deadline or when the rank
  // is gone.
  bool read_until(int rank, const std::string& word, Clock::time_point deadline,
                  std::string& line) const {
    const int fd = ranks_[static_cast<size_t>(rank)].lines;
    std::string text;
    while (true) {
      auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return false;
      pollfd entry{fd, POLLIN, 0};
      if (poll(&entry, 1, static_cast<int>(left)) <= 0) return false;
      char c = 0;
      if (read(fd, &c, 1) != 1) return false;
      if (c != '\n') {
        text += c;
        continue;
      }
      if (text.compare(0, word.size(), word) == 0) {
        line = text;
        return true;
      }
      text.clear();
    }
  }

 private:
  struct Rank {
    pid_t pid;  // 0: it was waited for
    int lines;
  };
  // Ends the test program, and with it the ranks that are there.
  static void require(bool done, const char* what) {
    if (done) return;
    perror(what);
    std::abort();
  }
  std::vector<Rank> ranks_;
};

// In a rank: says `line`.
inline void say(int out, const std::string& line) {
  const std::string text = line + "\n";
  [[maybe_unused]] ssize_t written = write(out, text.data(), text.size());
}

}  // namespace hfr_tests
