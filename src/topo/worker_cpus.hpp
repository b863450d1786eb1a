// Worker CPUs: how many threads a reduce pool gets, and where they run.
#pragma once

#include <pthread.h>

#include <span>
#include <vector>

namespace hfr {

// What this process may use of one NUMA node.
struct NodeCpus {
  int numa = 0;           // the system's number
  std::vector<int> cpus;  // the system's numbers
  int num_cores = 0;      // adding is bound by memory: a core's second thread brings nothing
};

struct WorkerRequest {
  int max_threads = 1;
  int numa = -1;  // where the pool's memory lies; -1: everywhere
  // The ranks of a machine divide it: this is pool `share_idx` of `num_shares`.
  int share_idx = 0;
  int num_shares = 1;
};

// CPUs of each worker: the size is the number of threads, at least 1 and at most what the affinity
// mask and the cgroup's quota grant, divided by the shares. Workers get a whole NUMA node rather
// than one CPU each, so that a worker is never held on a CPU where the thread that submits spins,
// and consecutive workers get the same node, so that consecutive ranges of a result do too.
std::vector<std::vector<int>> worker_cpus(const WorkerRequest& request);

// The same for a given machine; pure. `usable`: CPUs that may be kept busy (placement.hpp).
std::vector<std::vector<int>> divide_cpus(const std::vector<NodeCpus>& nodes, int usable,
                                          const WorkerRequest& request);

// Binds each thread to its CPUs; an empty list leaves it as it is. Best effort: an unbound thread
// is slower but right.
void bind_threads(std::span<const pthread_t> threads, std::span<const std::vector<int>> cpus);

}  // namespace hfr
