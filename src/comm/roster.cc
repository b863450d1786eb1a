#include "comm/roster.hpp"

#include <algorithm>

#include "topo/placement.hpp"

namespace hfr {

bool Roster::is_one_process() const {
  return std::all_of(infos_.begin(), infos_.end(), [&](const RankInfo& info) {
    return info.machine == infos_[0].machine && info.process == infos_[0].process;
  });
}

bool Roster::is_one_process(const std::vector<int>& ranks) const {
  return std::all_of(ranks.begin(), ranks.end(),
                     [&](int rank) { return share_process(rank, ranks[0]); });
}

bool Roster::any_on_device() const {
  return std::any_of(infos_.begin(), infos_.end(),
                     [](const RankInfo& info) { return info.device != "host"; });
}

bool Roster::all_on_device() const {
  return std::all_of(infos_.begin(), infos_.end(),
                     [](const RankInfo& info) { return info.device != "host"; });
}

int Roster::first_of_process(int rank) const {
  int first = 0;
  while (!share_process(first, rank)) ++first;
  return first;
}

int Roster::process_idx(int rank) const {
  int idx = 0;
  for (int other = 0; other < first_of_process(rank); ++other) {
    if (share_machine(other, rank) && first_of_process(other) == other) ++idx;
  }
  return idx;
}

bool Roster::has_cpu(int rank) const {
  std::vector<std::string> cpus;
  size_t idx = 0;
  for (int other = 0; other < num_ranks(); ++other) {
    if (!share_machine(other, rank)) continue;
    if (other == rank) idx = cpus.size();
    cpus.push_back((*this)[other].cpus);
  }
  return have_cpu_each(cpus, idx, (*this)[rank].quota);
}

Roster::CpuShare Roster::cpu_share(int rank) const {
  CpuShare share;
  for (int other = 0; other < num_ranks(); ++other) {
    if (!share_machine(other, rank) || (*this)[other].device == "host") continue;
    if (other == rank) share.share_idx = share.num_shares;
    ++share.num_shares;
  }
  return share;
}

std::string gpu_identity(const std::string& gpu, const RankInfo& rank) {
  return gpu + '@' + rank.machine;
}

bool have_own_gpus(std::vector<std::string> gpus) {
  std::sort(gpus.begin(), gpus.end());
  return !gpus.empty() && !gpus.front().empty() &&
         std::adjacent_find(gpus.begin(), gpus.end()) == gpus.end();
}

GpuCompany find_gpu_company(const Roster& roster, const Shape& shape,
                            const std::vector<std::string>& gpus) {
  GpuCompany company;
  const std::string& mine = gpus[static_cast<size_t>(shape.rank)];
  if (mine.empty()) return company;
  int local_rank = 0;  // the next one's on this node
  for (int rank = 0; rank < roster.num_ranks(); ++rank) {
    const bool on_it = gpus[static_cast<size_t>(rank)] == mine;
    const bool local = shape.node_of_rank[static_cast<size_t>(rank)] == shape.node;
    if (on_it && roster.share_process(rank, shape.rank)) {
      if (rank == shape.rank) company.mate_idx = company.mates.size();
      company.mates.push_back(rank);
    } else if (on_it && local) {
      company.sharers.push_back(local_rank);
    }
    if (local) ++local_rank;
  }
  return company;
}

}  // namespace hfr
