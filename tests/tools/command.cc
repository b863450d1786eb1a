#include "command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace hfr_tests {
namespace {

constexpr int kSignalFd = 9;

struct Pipe {
  hfr::UniqueFd read;
  hfr::UniqueFd write;
};
Pipe make_pipe() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {hfr::UniqueFd(ends[0]), hfr::UniqueFd(ends[1])};
}

// Waits for something to read, or the end of file.
bool readable(int fd, int timeout_ms = kPatienceMs) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) == 1;
}

}  // namespace

Command::Command(std::vector<std::string> arguments, const CommandOptions& options) {
  arguments.insert(arguments.begin(), HFREDUCE_COMMAND);
  Pipe input = make_pipe();
  Pipe output = make_pipe();
  Pipe error = make_pipe();
  Pipe signals = make_pipe();
  pid_ = fork();
  if (pid_ == 0) {
    dup2(input.read.get(), STDIN_FILENO);
    dup2(output.write.get(), STDOUT_FILENO);
    dup2(error.write.get(), STDERR_FILENO);
    if (signals.write.get() == kSignalFd) {
      fcntl(kSignalFd, F_SETFD, 0);
    } else {
      dup2(signals.write.get(), kSignalFd);
    }
    // Under a launcher the tests must not look like one of its ranks.
    for (const char* name :
         {"RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"})
      unsetenv(name);
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(125);
  }
  output_ = std::move(output.read);
  error_ = std::move(error.read);
  signals_ = std::move(signals.read);
  input_ = std::move(input.write);
  if (!options.hold_input) write_input(options.input);
}

void Command::write_input(const std::string& text) {
  [[maybe_unused]] ssize_t written = write(input_.get(), text.data(), text.size());
  input_.reset();
}

Command::~Command() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

bool Command::read_signals(int lines) {
  for (char c = 0; lines > 0;) {
    if (!readable(signals_.get()) || read(signals_.get(), &c, 1) != 1) return false;
    if (c == '\n') --lines;
  }
  return true;
}

bool Command::everyone_is_gone() {
  char bytes[256];
  while (readable(signals_.get())) {
    if (read(signals_.get(), bytes, sizeof(bytes)) <= 0) return true;
  }
  return false;
}

std::string Command::read_line() {
  std::string line;
  for (char c = 0; readable(output_.get()) && read(output_.get(), &c, 1) == 1 && c != '\n';)
    line += c;
  return line;
}

int Command::wait() {
  std::vector<std::pair<hfr::UniqueFd*, std::string*>> open = {{&output_, &output_text_},
                                                               {&error_, &error_text_}};
  char bytes[4096];
  while (!open.empty()) {
    std::vector<pollfd> entries;
    for (auto& [fd, text] : open) entries.push_back({fd->get(), POLLIN, 0});
    if (poll(entries.data(), entries.size(), kPatienceMs) <= 0) return -1;
    for (size_t i = entries.size(); i-- > 0;) {
      if (entries[i].revents == 0) continue;
      ssize_t got = read(entries[i].fd, bytes, sizeof(bytes));
      if (got > 0) open[i].second->append(bytes, static_cast<size_t>(got));
      if (got <= 0) open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return reap(kPatienceMs);
}

int Command::wait_unread() { return reap(kPatienceMs); }

int Command::reap(int timeout_ms) {
  hfr::UniqueFd handle(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!handle.valid() || !readable(handle.get(), timeout_ms)) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Finished run_command(std::vector<std::string> arguments, const CommandOptions& options) {
  Command command(std::move(arguments), options);
  const int status = command.wait();
  return {status, command.output(), command.error()};
}

std::vector<std::string> sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace hfr_tests
