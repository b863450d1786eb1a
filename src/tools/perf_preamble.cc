#include "tools/perf_preamble.hpp"

#include <cstdio>
#include <set>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

std::string counted(size_t number, const char* noun) {
  return cat(number, " ", noun, number == 1 ? "" : "s");
}

std::string options_lines(const PerfOptions& options, int version) {
  const bool cuda = options.device == HFR_DEVICE_CUDA;
  return cat(
      "# hfreduce perf version ", version / 10000, ".", version / 100 % 100, ".", version % 100,
      ", all_reduce\n# nThread ", options.threads, " nGpus ", options.per_thread, " minBytes ",
      options.min_bytes, " maxBytes ", options.max_bytes, " step: ",
      options.factor > 1 ? cat(options.factor, "(factor)") : cat(options.step_bytes, "(bytes)"),
      " warmup iters: ", options.warmups, " iters: ", options.iterations,
      " agg iters: ", options.aggregate, " validation: ", options.checks,
      " graph: ", options.graph_launches, " blocking: ", options.blocking ? 1 : 0,
      " device: ", cuda ? "cuda" : "host", " buffers: ",
      options.registered ? "hfr_mem_alloc"
      : cuda             ? "cuMemAlloc"
                         : "private",
      "\n#\n");
}

}  // namespace

std::string preamble(const PerfOptions& options, int version, int num_nodes,
                     const std::vector<Participant>& ranks) {
  std::string text = cat(options_lines(options, version), "# Using ", counted(ranks.size(), "rank"),
                         " on ", counted(static_cast<size_t>(num_nodes), "node"));
  if (options.device == HFR_DEVICE_CUDA) {
    std::set<std::string> gpus;
    for (const Participant& rank : ranks) gpus.insert(cat(rank.host, " ", rank.device));
    text += " and " + counted(gpus.size(), "GPU");
    if (gpus.size() < ranks.size()) text += ", shared: device = local rank mod devices";
  }
  text += "\n";
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const Participant& who = ranks[rank];
    char line[256];
    std::snprintf(line, sizeof(line), "#  Rank %3zu Node %3d Pid %7d on %s device %s\n", rank,
                  who.node, who.pid, who.host, who.device);
    text += line;
  }
  return text;
}

}  // namespace hfr::tools
