// Runs the `hfreduce` command as a child.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/net.hpp"

namespace hfr_tests {

// How long a test waits before it fails rather than hangs.
constexpr int kPatienceMs = 60'000;

struct CommandOptions {
  std::string input;
  bool hold_input = false;  // until write_input()
  std::vector<std::pair<std::string, std::string>> environment;
};

class Command {
 public:
  // Starts it. What it starts has descriptor 9 open for writing: read_signal() reads from there,
  // and everyone_is_gone() sees when the last process that could write has ended.
  explicit Command(std::vector<std::string> arguments, const CommandOptions& options = {});
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  pid_t pid() const { return pid_; }
  // Waits for `lines` lines on descriptor 9; false when they do not come.
  bool read_signals(int lines);
  bool everyone_is_gone();
  // Ends its standard input with these bytes.
  void write_input(const std::string& text);
  // One line of standard output.
  std::string read_line();
  void close_output() { output_.reset(); }
  // Reads all its output and waits for it: the exit status, or 128 + signal. -1 when it does not
  // end.
  int wait();
  // Only waits, without reading.
  int wait_unread();

  const std::string& output() const { return output_text_; }
  const std::string& error() const { return error_text_; }

 private:
  int reap(int timeout_ms);

  pid_t pid_ = -1;
  hfr::UniqueFd input_;
  hfr::UniqueFd output_;
  hfr::UniqueFd error_;
  hfr::UniqueFd signals_;
  std::string output_text_;
  std::string error_text_;
};

// Runs to the end.
struct Finished {
  int status;
  std::string output;
  std::string error;
};
Finished run_command(std::vector<std::string> arguments, const CommandOptions& options = {});

// One per line, without line ends, sorted.
std::vector<std::string> sorted_lines(const std::string& text);

}  // namespace hfr_tests
