// Roster: what the ranks of a communicator told of themselves, and what they share: machines,
// processes, CPUs, GPUs. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/set_up_data.hpp"
#include "engine/shape.hpp"

namespace hfr {

class Roster {
 public:
  void add(RankInfo info) { infos_.push_back(std::move(info)); }
  int num_ranks() const { return static_cast<int>(infos_.size()); }
  const RankInfo& operator[](int rank) const { return infos_[static_cast<size_t>(rank)]; }

  bool share_machine(int a, int b) const { return (*this)[a].machine == (*this)[b].machine; }
  // Their process identities are its machine's: another one may have the same.
  bool share_process(int a, int b) const {
    return share_machine(a, b) && (*this)[a].process == (*this)[b].process;
  }
  bool is_one_process() const;
  bool is_one_process(const std::vector<int>& ranks) const;
  bool any_on_device() const;
  bool all_on_device() const;

  // The lowest rank of the same process.
  int first_of_process(int rank) const;
  // The process's place among those of its machine.
  int process_idx(int rank) const;
  // Whether each of the ranks that share the machine and CPUs with `rank` can have a CPU.
  bool has_cpu(int rank) const;
  // A machine's GPU ranks divide its CPUs: how many they are, and which of them `rank` is.
  struct CpuShare {
    int num_shares = 0;
    int share_idx = 0;
  };
  CpuShare cpu_share(int rank) const;

 private:
  std::vector<RankInfo> infos_;
};

// What each rank says of its GPU before staging is sized: which one, of all machines. Empty: none.
std::string gpu_identity(const std::string& gpu, const RankInfo& rank);
// True when all are on GPUs that no other is on.
bool have_own_gpus(std::vector<std::string> gpus);

// With whom a rank shares its GPU.
struct GpuCompany {
  // Ranks of its process, itself among them, in rank order; none without a GPU.
  std::vector<int> mates;
  size_t mate_idx = 0;  // which of them it is
  // Local ranks of other processes.
  std::vector<int> sharers;
};
// `gpus[r]`: rank r's, empty without one.
GpuCompany find_gpu_company(const Roster& roster, const Shape& shape,
                            const std::vector<std::string>& gpus);

}  // namespace hfr
