#include "topo/gpu_groups.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace hfr {
namespace {

std::vector<int> ranks_on_gpus(const std::vector<GpuFacts>& ranks) {
  std::vector<int> found;
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (!ranks[r].gpu.empty()) found.push_back(static_cast<int>(r));
  }
  return found;
}

bool reach_each_other(const GpuFacts& a, const GpuFacts& b) {
  auto reaches = [](const GpuFacts& from, const GpuFacts& to) {
    return std::find(from.reaches.begin(), from.reaches.end(), to.gpu) != from.reaches.end();
  };
  const bool are_threads = a.process >= 0 && a.process == b.process;
  return a.gpu != b.gpu && !are_threads && reaches(a, b) && reaches(b, a);
}

// Takes the first rank that is left, and with it the next ones that reach all of its group.
GpuGroups divide(const std::vector<GpuFacts>& ranks, std::vector<int> left, size_t size) {
  GpuGroups groups;
  while (!left.empty()) {
    std::vector<int> group;
    for (int rank : left) {
      auto fits = [&](int member) {
        return reach_each_other(ranks[static_cast<size_t>(member)],
                                ranks[static_cast<size_t>(rank)]);
      };
      if (group.size() < size && std::all_of(group.begin(), group.end(), fits)) {
        group.push_back(rank);
      }
    }
    if (group.size() < size) return {};
    std::erase_if(
        left, [&](int rank) { return std::find(group.begin(), group.end(), rank) != group.end(); });
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

GpuGroups find_gpu_groups(const std::vector<GpuFacts>& ranks) {
  const std::vector<int> on_gpus = ranks_on_gpus(ranks);
  for (size_t size : {8, 4, 2}) {
    if (on_gpus.size() % size != 0) continue;
    if (GpuGroups groups = divide(ranks, on_gpus, size); !groups.empty()) return groups;
  }
  return {};
}

Result<GpuGroups> cut_gpu_groups(const std::vector<GpuFacts>& ranks, int size) {
  const std::vector<int> on_gpus = ranks_on_gpus(ranks);
  const auto step = static_cast<size_t>(size);
  if (on_gpus.size() % step != 0) {
    return Status(Code::kInvalidArgument,
                  cat("HFREDUCE_GPU_GROUP=", size, ": a node has ", on_gpus.size(),
                      " GPU ranks, which do not divide into groups of ", size,
                      "; use auto, 0, or a number that divides them"));
  }
  GpuGroups groups;
  for (size_t i = 0; i < on_gpus.size(); i += step) {
    groups.emplace_back(on_gpus.begin() + static_cast<std::ptrdiff_t>(i),
                        on_gpus.begin() + static_cast<std::ptrdiff_t>(i + step));
  }
  return groups;
}

}  // namespace hfr
