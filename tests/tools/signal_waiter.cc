// A rank that says "ready" on descriptor 9, takes one signal in its own time, and exits with its
// first argument.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGHUP, SIGQUIT})
    sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  if (write(9, "ready\n", 6) != 6) return 1;
  int taken = 0;
  sigwait(&signals, &taken);
  return argc > 1 ? std::atoi(argv[1]) : 0;
}
