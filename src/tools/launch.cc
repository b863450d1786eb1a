#include "tools/launch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>

#include "base/text.hpp"
#include "tools/children.hpp"
#include "tools/supervisor.hpp"

namespace hfr::tools {
namespace {

int complain(const char* call) {
  std::cerr << cat("hfreduce run: ", call, " failed: ", strerror(errno), "\n");
  return 1;
}

// Passes signals on until the supervisor ends; returns its wait status.
int follow(pid_t supervisor, int signals) {
  for (;;) {
    int wait_status = 0;
    if (waitpid(supervisor, &wait_status, WNOHANG) == supervisor) return wait_status;
    pollfd entry{signals, POLLIN, 0};
    poll(&entry, 1, -1);
    signalfd_siginfo info{};
    while (read(signals, &info, sizeof(info)) == sizeof(info)) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGCHLD) continue;
      kill(supervisor, signal);
      if (signal == SIGTSTP) raise(SIGSTOP);
    }
  }
}

}  // namespace

int launch(const LaunchSpec& spec) {
  // Ignored, the end of a child could not be waited for.
  signal(SIGCHLD, SIG_DFL);
  sigset_t watched = passed_signals();
  sigaddset(&watched, SIGCHLD);
  sigset_t mask;
  sigprocmask(SIG_BLOCK, &watched, &mask);
  UniqueFd signals(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return complain("signalfd");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return complain("prctl(PR_SET_CHILD_SUBREAPER)");
  int alive[2];
  if (pipe2(alive, O_CLOEXEC) != 0) return complain("pipe2");
  UniqueFd read_end(alive[0]);
  UniqueFd write_end(alive[1]);

  std::cout.flush();
  const pid_t supervisor = fork();
  if (supervisor < 0) return complain("fork");
  if (supervisor == 0) {
    write_end.reset();
    signals.reset();
    // Out of the terminal's foreground group: its signals reach us through the launcher, once.
    setpgid(0, 0);
    signal(SIGPIPE, SIG_IGN);
    const int status = supervise(spec, std::move(read_end), mask);
    std::cout.flush();
    _exit(status);
  }
  setpgid(supervisor, supervisor);
  read_end.reset();
  const int wait_status = follow(supervisor, signals.get());
  int status = WEXITSTATUS(wait_status);
  if (WIFSIGNALED(wait_status)) {
    std::cerr << cat("hfreduce run: the supervisor of the ranks was killed by signal ",
                     WTERMSIG(wait_status), "; ending the ranks\n");
    status = 128 + WTERMSIG(wait_status);
    kill_and_reap_children();
  }
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  return status;
}

}  // namespace hfr::tools
