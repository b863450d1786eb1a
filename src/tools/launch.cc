#include "tools/launch.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "base/net.hpp"
#include "base/text.hpp"

namespace hfr::tools {
namespace {

constexpr uint64_t kGraceNs = 5'000'000'000;

std::string random_hex() {
  unsigned char bytes[16] = {};
  std::string text;
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) return text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// A port that is free now; rank 0 takes it a moment later.
Result<std::string> free_rendezvous() {
  HFR_ASSIGN_OR_RETURN(UniqueFd listener, listen_tcp({"127.0.0.1", 0}));
  HFR_ASSIGN_OR_RETURN(HostPort address, local_address(listener.get()));
  return text(address);
}

struct Rank {
  pid_t pid = -1;
  int output = -1;   // read end, when tagged
  std::string line;  // not ended yet
};

class Launcher {
 public:
  explicit Launcher(const LaunchSpec& spec) : spec_(spec), ranks_(static_cast<size_t>(spec.nodes * spec.ranks_per_node)) {}

  int run() {
    sigset_t watched;
    sigemptyset(&watched);
    for (int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&watched, signal);
    sigprocmask(SIG_BLOCK, &watched, &old_mask_);
    UniqueFd signals(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
    auto rendezvous = free_rendezvous();
    if (!signals.valid() || !rendezvous.ok()) {
      std::cerr << "hfreduce run: " << (rendezvous.ok() ? "signalfd failed" : rendezvous.status().message()) << "\n";
      return 1;
    }
    rendezvous_ = *rendezvous;
    secret_ = random_hex();
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (!start(static_cast<int>(rank))) {
        end_all(SIGKILL);
        return 1;
      }
      ++running_;
    }
    if (!guard()) {
      end_all(SIGKILL);
      return 1;
    }
    while (running_ > 0) turn(signals.get());
    drain_output();
    return status_;
  }

 private:
  bool start(int rank) {
    int output[2] = {-1, -1};
    if (spec_.tag && pipe(output) != 0) return complain("pipe");
    const pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) return complain("fork");
    if (pid == 0) {
      setpgid(0, 0);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      if (spec_.tag) {
        dup2(output[1], STDOUT_FILENO);
        dup2(output[1], STDERR_FILENO);
        close(output[0]);
        close(output[1]);
      }
      become(rank);
    }
    setpgid(pid, pid);
    if (spec_.tag) close(output[1]);
    ranks_[static_cast<size_t>(rank)] = {pid, output[0], ""};
    return true;
  }

  [[noreturn]] void become(int rank) {
    auto set = [](const char* name, const std::string& value) { setenv(name, value.c_str(), 1); };
    const int node = rank / spec_.ranks_per_node;
    set("RANK", cat(rank));
    set("WORLD_SIZE", cat(ranks_.size()));
    set("LOCAL_RANK", cat(rank % spec_.ranks_per_node));
    set("LOCAL_WORLD_SIZE", cat(spec_.ranks_per_node));
    set("NODE_RANK", cat(node));
    set("HFREDUCE_HOSTID", cat("run-", getppid(), "-node-", node));
    set("HFREDUCE_RENDEZVOUS", rendezvous_);
    set("HFREDUCE_SECRET", secret_);
    sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    std::vector<char*> arguments;
    for (const std::string& part : spec_.command) arguments.push_back(const_cast<char*>(part.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    std::cerr << "hfreduce run: cannot start " << arguments[0] << ": " << std::strerror(errno) << "\n";
    _exit(127);
  }

  // A process that does nothing but notice the launcher's end, however sudden, and end the ranks' process groups.
  bool guard() {
    int alive[2];
    if (pipe(alive) != 0) return complain("pipe");
    pid_t pid = fork();
    if (pid < 0) return complain("fork");
    if (pid == 0) {
      setpgid(0, 0);
      close(alive[1]);
      char byte = 0;
      while (read(alive[0], &byte, 1) < 0 && errno == EINTR) {
      }
      for (const Rank& rank : ranks_) kill(-rank.pid, SIGKILL);
      _exit(0);
    }
    close(alive[0]);
    alive_ = UniqueFd(alive[1]);
    return true;
  }

  static bool complain(const char* call) {
    std::cerr << "hfreduce run: " << call << ": " << std::strerror(errno) << "\n";
    return false;
  }

  void turn(int signals) {
    std::vector<pollfd> entries = {{signals, POLLIN, 0}};
    for (const Rank& rank : ranks_) {
      if (rank.output >= 0) entries.push_back({rank.output, POLLIN, 0});
    }
    poll(entries.data(), entries.size(), 100);
    signalfd_siginfo info{};
    while (read(signals, &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo == SIGCHLD) continue;
      if (status_ == 0) status_ = 128 + static_cast<int>(info.ssi_signo);
      begin_ending(static_cast<int>(info.ssi_signo));
    }
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].output >= 0) forward_output(rank);
    }
    reap();
    if (ending_ && running_ > 0 && monotonic_ns() > kill_at_ns_) end_all(SIGKILL);
  }

  void reap() {
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      int status = 0;
      if (ranks_[rank].pid < 0 || waitpid(ranks_[rank].pid, &status, WNOHANG) != ranks_[rank].pid) continue;
      // What the rank itself started goes with it.
      kill(-ranks_[rank].pid, SIGKILL);
      ranks_[rank].pid = -1;
      --running_;
      const bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
      if (!failed || ending_) continue;
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      std::cerr << "hfreduce run: rank " << rank << " failed first: "
                << (WIFEXITED(status) ? cat("exit status ", status_)
                                      : cat("signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")"))
                << "\n";
      begin_ending(SIGTERM);
    }
  }

  void begin_ending(int signal) {
    if (!ending_) kill_at_ns_ = monotonic_ns() + kGraceNs;
    ending_ = true;
    end_all(signal);
  }
  void end_all(int signal) {
    for (const Rank& rank : ranks_) {
      if (rank.pid > 0) kill(-rank.pid, signal);
    }
  }

  void forward_output(size_t idx) {
    Rank& rank = ranks_[idx];
    pollfd entry{rank.output, POLLIN, 0};
    char bytes[4096];
    while (poll(&entry, 1, 0) > 0) {
      ssize_t got = read(rank.output, bytes, sizeof(bytes));
      if (got <= 0) {
        close(rank.output);
        rank.output = -1;
        return;
      }
      for (ssize_t i = 0; i < got; ++i) {
        if (bytes[i] != '\n') {
          rank.line += bytes[i];
          continue;
        }
        std::cout << "[" << idx << "] " << rank.line << std::endl;
        rank.line.clear();
      }
    }
  }
  void drain_output() {
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].output >= 0) forward_output(rank);
      if (!ranks_[rank].line.empty()) std::cout << "[" << rank << "] " << ranks_[rank].line << std::endl;
    }
  }

  const LaunchSpec& spec_;
  std::vector<Rank> ranks_;
  sigset_t old_mask_{};
  std::string rendezvous_;
  std::string secret_;
  UniqueFd alive_;
  int running_ = 0;
  int status_ = 0;
  bool ending_ = false;
  uint64_t kill_at_ns_ = 0;
};

}  // namespace

int launch(const LaunchSpec& spec) { return Launcher(spec).run(); }

}  // namespace hfr::tools
