#include "tools/supervisor.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>

#include "base/text.hpp"
#include "tools/children.hpp"
#include "tools/rank_environment.hpp"
#include "tools/tagged_output.hpp"

namespace hfr::tools {
namespace {

constexpr int kCannotRun = 126;
constexpr int kNotFound = 127;

Result<std::string> random_hex(size_t num_bytes) {
  std::vector<unsigned char> bytes(num_bytes);
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return system_error("getrandom", errno);
  }
  std::string text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe2", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A port of loopback that stays bound, but does not listen, while the job runs: nobody else is
// given it, and rank 0, which sets SO_REUSEADDR as we do, can listen there.
Result<UniqueFd> reserve_port() {
  HFR_ASSIGN_OR_RETURN(UniqueFd listener, listen_tcp({"127.0.0.1", 0}));
  HFR_ASSIGN_OR_RETURN(HostPort address, local_address(listener.get()));
  UniqueFd holder(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!holder.valid()) return system_error("socket", errno);
  const int on = 1;
  setsockopt(holder.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return system_error("getsockname", errno);
  }
  listener.reset();
  if (bind(holder.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) {
    return system_error(cat("reserving ", text(address)), errno);
  }
  return holder;
}

bool failed(int wait_status) { return !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0; }

std::string ending_text(int wait_status) {
  if (WIFEXITED(wait_status)) return cat("exited with status ", WEXITSTATUS(wait_status));
  const int signal = WTERMSIG(wait_status);
  return cat("was killed by signal ", signal, " (", strsignal(signal), ")");
}

class Supervisor {
 public:
  Supervisor(const LaunchSpec& spec, UniqueFd launcher_alive, const sigset_t& mask)
      : spec_(spec),
        launcher_alive_(std::move(launcher_alive)),
        mask_(mask),
        ranks_(static_cast<size_t>(spec.num_ranks()), 0) {}

  int run() {
    Status status = prepare();
    for (int rank = 0; status.ok() && status_ == 0 && rank < spec_.num_ranks(); ++rank)
      status = start(rank);
    if (!status.ok()) {
      std::cerr << cat("hfreduce run: ", status.message(), "\n");
      status_ = 1;
    }
    if (status_ != 0) {
      kill_and_reap_children();
      return status_;
    }
    while (turn()) {
    }
    return status_;
  }

 private:
  Status prepare() {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
      return system_error("prctl(PR_SET_CHILD_SUBREAPER)", errno);
    sigset_t watched = passed_signals();
    sigaddset(&watched, SIGCHLD);
    signals_ = UniqueFd(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.valid()) return system_error("signalfd", errno);
    HFR_ASSIGN_OR_RETURN(port_, reserve_port());
    HFR_ASSIGN_OR_RETURN(HostPort address, local_address(port_.get()));
    meeting_.rendezvous = text(address);
    HFR_ASSIGN_OR_RETURN(meeting_.secret, random_hex(16));
    HFR_ASSIGN_OR_RETURN(std::string job, random_hex(4));
    meeting_.job = "run-" + job;
    return Status();
  }

  // A program that cannot be started sets status_; what the system refuses us is returned.
  Status start(int rank) {
    Pipe output[2];
    if (spec_.tag) {
      HFR_ASSIGN_OR_RETURN(output[0], make_pipe());
      HFR_ASSIGN_OR_RETURN(output[1], make_pipe());
    }
    HFR_ASSIGN_OR_RETURN(Pipe complaint, make_pipe());
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) return system_error(cat("fork for rank ", rank), errno);
    if (pid == 0) {
      setpgid(0, 0);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(kNotFound);
      for (int i = 0; i < 2 && spec_.tag; ++i) dup2(output[i].write.get(), STDOUT_FILENO + i);
      become(rank, complaint.write.get());
    }
    setpgid(pid, pid);
    ranks_[static_cast<size_t>(rank)] = pid;
    ++running_;
    for (int i = 0; i < 2 && spec_.tag; ++i) output_.add(std::move(output[i].read), rank, i);
    complaint.write.reset();
    int error = 0;
    if (read(complaint.read.get(), &error, sizeof(error)) == sizeof(error)) {
      std::cerr << cat("hfreduce run: cannot start ", spec_.command[0], ": ", strerror(error),
                       "\n");
      status_ = error == ENOENT ? kNotFound : kCannotRun;
    }
    return Status();
  }

  // In the child. Writes errno to `complaint`, which closes when the program starts.
  [[noreturn]] void become(int rank, int complaint) {
    for (const auto& [name, value] : rank_environment(spec_, meeting_, rank))
      setenv(name.c_str(), value.c_str(), 1);
    if (rank != 0 || isatty(STDIN_FILENO) != 0) {
      // In the background a terminal would stop whoever reads from it.
      if (int null = open("/dev/null", O_RDONLY | O_CLOEXEC); null >= 0) dup2(null, STDIN_FILENO);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &mask_, nullptr);
    std::vector<char*> arguments;
    for (const std::string& part : spec_.command)
      arguments.push_back(const_cast<char*>(part.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    const int error = errno;
    [[maybe_unused]] ssize_t written = write(complaint, &error, sizeof(error));
    _exit(kNotFound);
  }

  // False when the job is over.
  bool turn() {
    std::vector<pollfd> entries = {{signals_.get(), POLLIN, 0}, {launcher_alive_.get(), POLLIN, 0}};
    if (no_children_) entries[0].fd = -1;
    output_.append(entries);
    poll_all(entries, poll_timeout_ms());
    if (entries[1].revents != 0) {
      // The launcher was killed: nobody waits for a status or an output any more.
      kill_and_reap_children();
      return false;
    }
    output_.handle(entries.data() + 2, entries.size() - 2);
    if (!no_children_) {
      take_signals();
      reap();
      if (kill_at_ns_ != 0 && monotonic_ns() >= kill_at_ns_) kill_everything();
    }
    if (!no_children_) return true;
    // A job that was asked to end does not wait for a reader that has stopped reading.
    return !output_.empty() && !(asked_ && monotonic_ns() >= kill_at_ns_);
  }

  int poll_timeout_ms() const {
    const bool waits_for_reader = no_children_ && asked_;
    if (kill_at_ns_ == 0 || ((killing_ || no_children_) && !waits_for_reader)) return -1;
    const uint64_t now = monotonic_ns();
    return now >= kill_at_ns_ ? 0 : static_cast<int>((kill_at_ns_ - now) / 1'000'000 + 1);
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      const int signal = static_cast<int>(info.ssi_signo);
      switch (signal) {
        case SIGCHLD:
          break;
        case SIGINT:
        case SIGTERM:
        case SIGHUP:
        case SIGQUIT:
          if (asked_ && (signal == SIGINT || signal == SIGTERM)) {
            kill_everything();
            break;
          }
          asked_ = true;
          end_ranks(signal);
          break;
        default:
          signal_ranks(signal);
      }
    }
  }

  // Takes all that ended in this turn together: who died by a signal comes before who exited, since
  // an exit is how ranks answer the death of another.
  void reap() {
    std::optional<std::pair<size_t, int>> worst;
    int wait_status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
      auto rank = std::find(ranks_.begin(), ranks_.end(), pid);
      if (rank == ranks_.end()) continue;
      *rank = 0;
      --running_;
      if (!failed(wait_status)) continue;
      if (!worst || (WIFEXITED(worst->second) && WIFSIGNALED(wait_status))) {
        worst = {static_cast<size_t>(rank - ranks_.begin()), wait_status};
      }
    }
    const bool nobody_left = pid < 0 && errno == ECHILD;
    if (worst && status_ == 0) report(worst->first, worst->second);
    if (nobody_left) {
      no_children_ = true;
      output_.finish();
      return;
    }
    // What is killed may leave its own children to us.
    if (killing_) kill_everything();
    // Ranks may have left others behind, who were never asked.
    if (running_ == 0 && !swept_) {
      swept_ = true;
      end_ranks(SIGTERM);
    }
  }

  void report(size_t rank, int wait_status) {
    status_ = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    std::string sentence =
        cat("hfreduce run: rank ", rank, " of ", ranks_.size(), " ", ending_text(wait_status));
    if (asked_) {
      sentence += " when asked to end";
    } else {
      if (ranks_.size() > 1) sentence += ", the first to fail";
      if (running_ > 0) sentence += cat("; ending the other ", running_);
    }
    std::cerr << sentence + "\n";
    if (kill_at_ns_ == 0) end_ranks(SIGTERM);
  }

  void end_ranks(int signal) {
    if (kill_at_ns_ == 0)
      kill_at_ns_ = monotonic_ns() + static_cast<uint64_t>(spec_.grace_s * 1e9) + 1;
    signal_ranks(signal);
    // A stopped process sees no other signal.
    signal_ranks(SIGCONT);
  }
  void kill_everything() {
    killing_ = true;
    signal_ranks(SIGKILL);
  }

  // The groups of ranks that run still, and whoever has no such group.
  void signal_ranks(int signal) {
    for (pid_t pid : ranks_) {
      if (pid > 0) kill(-pid, signal);
    }
    for (pid_t child : direct_children()) {
      if (std::find(ranks_.begin(), ranks_.end(), child) == ranks_.end()) kill(child, signal);
    }
  }

  const LaunchSpec& spec_;
  UniqueFd launcher_alive_;
  const sigset_t& mask_;
  UniqueFd signals_;
  UniqueFd port_;
  Meeting meeting_;
  TaggedOutput output_{STDOUT_FILENO, STDERR_FILENO};
  std::vector<pid_t> ranks_;  // 0: not started, or waited for
  int running_ = 0;
  int status_ = 0;
  bool asked_ = false;  // a signal asked the job to end
  bool killing_ = false;
  bool swept_ = false;  // what the ranks left behind was asked to end
  bool no_children_ = false;
  uint64_t kill_at_ns_ = 0;  // 0: nobody was asked to end yet
};

}  // namespace

sigset_t passed_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT})
    sigaddset(&signals, signal);
  return signals;
}

int supervise(const LaunchSpec& spec, UniqueFd launcher_alive, const sigset_t& mask) {
  return Supervisor(spec, std::move(launcher_alive), mask).run();
}

}  // namespace hfr::tools
