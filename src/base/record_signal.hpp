// On a signal, a process copies its records, as they are then, to a folder beside them.
//
// Signals are the process': the communicators of a process that chose the same one share its
// handler, which comes with the first and goes with the last of them. A handler that was there
// before runs after it.
#pragma once

#include <csignal>
#include <memory>
#include <optional>
#include <string>

#include "base/record_file.hpp"
#include "base/status.hpp"

namespace hfr {

constexpr const char* kDumpFolder = "dumps";

// "USR1", "USR2", "HUP", "QUIT".
std::optional<int> signal_number(const std::string& name);

// While it lives, `signal` copies the record. Any thread.
class DumpOnSignal {
 public:
  // `file` outlives it, and is in a folder.
  static Result<std::unique_ptr<DumpOnSignal>> install(int signal, const RecordFile& file);
  ~DumpOnSignal();
  DumpOnSignal(const DumpOnSignal&) = delete;
  DumpOnSignal& operator=(const DumpOnSignal&) = delete;

  // For the handler.
  int signal() const { return signal_; }
  void write() const;

 private:
  DumpOnSignal(int signal, const RecordFile& file, UniqueFd folder)
      : signal_(signal), file_(file), folder_(std::move(folder)) {}

  const int signal_;
  const RecordFile& file_;
  const UniqueFd folder_;
  size_t place_ = SIZE_MAX;
};

}  // namespace hfr
