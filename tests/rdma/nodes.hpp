// The virtual machine's nodes (guest_nodes.sh), each played by a process of the test, and the
// cables between them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

// Emulation is slow: this tells a hang from it.
constexpr std::chrono::seconds kPatience{100};
constexpr uint32_t kTimeoutMs = 60'000;  // of what must not end by it

inline std::string device_name(int node) { return "rxe_" + std::to_string(node); }

inline void run_command(const std::string& command) {
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

// The port of the switch goes down: both sides see it.
inline void cut_cable(int node) {
  run_command("ip link set port_" + std::to_string(node) + " down");
}
inline void mend_cable(int node) {
  run_command("ip link set port_" + std::to_string(node) + " up");
}
// Frames get lost, both ways, and nobody is told.
inline void lose_frames(int node, int percent) {
  for (const char* end : {"port_", "rail_"}) {
    run_command("tc qdisc replace dev " + (end + std::to_string(node)) + " root netem loss " +
                std::to_string(percent) + "%");
  }
}
inline void lose_nothing(int node) {
  for (const char* end : {"port_", "rail_"}) {
    run_command("tc qdisc del dev " + (end + std::to_string(node)) + " root");
  }
}

// The device loses the GID of its IPv4 address with the address.
inline std::string has_gid_command(int node) {
  return "cat /sys/class/infiniband/" + device_name(node) +
         "/ports/1/gid_attrs/ndevs/1 > /dev/null 2>&1";
}
inline void take_address(int node) {
  const std::string number = std::to_string(node);
  run_command("ip addr del 10.9.0." + std::to_string(node + 1) + "/24 dev rail_" + number);
  run_command("while " + has_gid_command(node) + "; do sleep 0.05; done");
}
inline void give_address(int node) {
  const std::string number = std::to_string(node), host = "10.9.0." + std::to_string(node + 1);
  run_command("ip addr add " + host + "/24 dev rail_" + number);
  run_command("ip route replace 10.9.0.0/24 dev rail_" + number + " src " + host + " table " +
              std::to_string(100 + node));
  // Its neighbours went, too (guest_nodes.sh says why they are told).
  run_command("for other in /sys/class/net/rail_*; do j=${other##*_}; [ $j = " + number +
              " ] || ip neigh replace 10.9.0.$((j + 1)) dev rail_" + number +
              " lladdr $(cat $other/address) nud permanent || exit; done");
  run_command("until " + has_gid_command(node) + "; do sleep 0.05; done");
}

inline uint64_t sent_packets(int node) {
  std::ifstream counter("/sys/class/infiniband/" + device_name(node) +
                        "/ports/1/hw_counters/sent_pkts");
  uint64_t count = 0;
  EXPECT_TRUE(counter >> count) << "no counter of " << device_name(node);
  return count;
}

class RdmaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/sys/class/infiniband/rxe_0", F_OK) != 0) {
      GTEST_SKIP() << "there are no emulated nodes here; tests/rdma/run_in_vm.sh makes them";
    }
  }
};

// What a node's process is given.
struct Member {
  int node;
  int num_nodes;
  hfr_unique_id_t id;
  int to_test;
  hfr_comm_t comm = nullptr;

  // The library's log goes to the test, line by line, among what is said.
  void say_log() const {
    setenv("HFREDUCE_LOG_FILE", ("/proc/self/fd/" + std::to_string(to_test)).c_str(), 1);
  }
  // Joins, as the only rank of its node.
  hfr_status_t join(uint32_t timeout_ms = kTimeoutMs, size_t chunk_bytes = 0) {
    const std::string host_id = "node" + std::to_string(node);
    hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
    options.host_id = host_id.c_str();
    options.timeout_ms = timeout_ms;
    options.chunk_bytes = chunk_bytes;
    return hfr_comm_init_rank(&comm, num_nodes, &id, node, &options);
  }
  void leave() {
    EXPECT_EQ(hfr_comm_finalize(comm), HFR_SUCCESS) << hfr_get_last_error(comm);
    EXPECT_EQ(hfr_comm_destroy(comm), HFR_SUCCESS);
  }
  // Tells the test a line.
  void say(std::string line) const {
    line += '\n';
    EXPECT_EQ(write(to_test, line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
};

// Processes for nodes 0 to N-1. A node's process lives in its node's network namespace, uses its
// node's device over verbs (unless `body` sets other variables before it joins), runs `body` and
// ends; what it expected in vain fails the test.
class Nodes {
 public:
  using Body = std::function<void(Member&)>;

  Nodes(int num_nodes, const Body& body) {
    int id_pipe[2];
    EXPECT_EQ(pipe(id_pipe), 0);
    for (int node = 0; node < num_nodes; ++node) start(node, num_nodes, id_pipe, body);
    close(id_pipe[0]);
    close(id_pipe[1]);
  }
  ~Nodes() {
    for (Process& process : processes_) {
      if (process.pid > 0) end(process, SIGKILL);
      close(process.lines);
    }
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  void kill(int node) {
    Process& process = processes_[static_cast<size_t>(node)];
    if (process.pid > 0) end(process, SIGKILL);
  }

  // The next line that begins with `word` from that node, without the word.
  std::string await_line(int node, const std::string& word) {
    return await(node, word, [&](const std::string& line) { return line.starts_with(word); })
        .substr(word.size());
  }
  // The next line that holds `text`.
  std::string await_text(int node, const std::string& text) {
    return await(node, text,
                 [&](const std::string& line) { return line.find(text) != std::string::npos; });
  }
  void await_all(const std::string& word) {
    for (size_t node = 0; node < processes_.size(); ++node) {
      if (processes_[node].pid > 0) await_line(static_cast<int>(node), word);
    }
  }

  // Until all have ended well.
  void join() {
    for (size_t node = 0; node < processes_.size(); ++node) {
      Process& process = processes_[node];
      if (process.pid == 0) continue;
      // The line's end comes when the process has closed it.
      const auto until = std::chrono::steady_clock::now() + kPatience;
      std::string line;
      while (next_line(process.lines, until, line)) {
      }
      const bool hangs = std::chrono::steady_clock::now() >= until;
      EXPECT_FALSE(hangs) << "node " << node << " hangs";
      const int status = end(process, hangs ? SIGKILL : 0);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << "node " << node << " failed, wait status " << status;
    }
  }

 private:
  struct Process {
    pid_t pid = 0;
    int lines = -1;
  };

  void start(int node, int num_nodes, const int (&id_pipe)[2], const Body& body) {
    int line_pipe[2];
    ASSERT_EQ(pipe2(line_pipe, O_CLOEXEC), 0);
    fflush(nullptr);
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      Member member{node, num_nodes, {}, line_pipe[1]};
      play(member, id_pipe, body);
      fflush(nullptr);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    close(line_pipe[1]);
    processes_.push_back({pid, line_pipe[0]});
  }

  static void play(Member& member, const int (&id_pipe)[2], const Body& body) {
    const std::string name = "/run/netns/node_" + std::to_string(member.node);
    const int space = open(name.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(setns(space, CLONE_NEWNET), 0) << name;
    setenv("HFREDUCE_TRANSPORT", "verbs", 1);
    setenv("HFREDUCE_IB_HCA", device_name(member.node).c_str(), 1);
    // The id is made where its rendezvous is, and travels through a pipe.
    if (member.node == 0) {
      ASSERT_EQ(hfr_get_unique_id(&member.id), HFR_SUCCESS) << hfr_get_last_error(nullptr);
      for (int other = 1; other < member.num_nodes; ++other) {
        ASSERT_EQ(write(id_pipe[1], &member.id, sizeof(member.id)),
                  static_cast<ssize_t>(sizeof(member.id)));
      }
    } else {
      close(id_pipe[1]);  // so that the end of node 0 is the end of the pipe
      ASSERT_EQ(read(id_pipe[0], &member.id, sizeof(member.id)),
                static_cast<ssize_t>(sizeof(member.id)));
    }
    body(member);
  }

  // When no such line comes the test fails, the node is ended, and `what` stands for the line.
  std::string await(int node, const std::string& what,
                    const std::function<bool(const std::string&)>& is_it) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    std::string line;
    while (next_line(processes_[static_cast<size_t>(node)].lines, until, line)) {
      if (is_it(line)) return line;
    }
    ADD_FAILURE() << "node " << node << " ended or hung before it said: " << what;
    kill(node);
    return what;
  }

  // False at the end of all lines, and at the deadline.
  static bool next_line(int fd, std::chrono::steady_clock::time_point until, std::string& line) {
    line.clear();
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      pollfd entry{fd, POLLIN, 0};
      char c = 0;
      if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0 ||
          read(fd, &c, 1) != 1) {
        return false;
      }
      if (c == '\n') return true;
      line += c;
    }
  }

  static int end(Process& process, int signal) {
    if (signal != 0) ::kill(process.pid, signal);
    int status = 0;
    EXPECT_EQ(waitpid(process.pid, &status, 0), process.pid);
    process.pid = 0;
    return status;
  }

  std::vector<Process> processes_;
};

}  // namespace hfr_tests
