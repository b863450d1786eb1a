// Which process is meant, beyond its number, and whether it is still there.
#pragma once

#include <cstdint>
#include <string>

namespace hfr {

struct ProcessIdentity {
  int pid = 0;
  uint64_t start = 0;          // /proc/PID/stat: when, in ticks since boot; 0: not known
  uint64_t pid_namespace = 0;  // inode
  std::string boot_id;
};

// Values are those of record files: never renumbered.
enum class ProcessState : uint32_t {
  kUnknown = 0,  // of another machine or container
  kRunning = 1,
  kStopped = 2,
  kDead = 3,
};
constexpr int kNumProcessStates = 4;

ProcessIdentity this_process();
// `here`: this_process().
ProcessState look_at(const ProcessIdentity& process, const ProcessIdentity& here);

}  // namespace hfr
