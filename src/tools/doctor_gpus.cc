#include "tools/doctor_gpus.hpp"

#include <pthread.h>

#include <algorithm>
#include <barrier>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "base/text.hpp"
#include "topo/worker_cpus.hpp"

namespace hfr::tools {
namespace {

using Verdict = Finding::Verdict;

constexpr uint64_t kMeasureNs = 150'000'000;
// Of what the link carries, headers, acknowledgements and credits leave some 0.78 (generation 3) to
// 0.88 (5); both ways at once 0.8 was seen.
constexpr double kLeastOneWay = 0.7;
constexpr double kLeastBothWays = 0.6;
// GPUs beside each other, or one among all: measurements on a machine at rest differ by less.
constexpr double kLeastOfTwin = 0.8;

// In a thread near the GPU; what goes wrong is its failure.
template <typename Work>
std::thread near_gpu(const std::vector<int>& cpus, GpuLinkFacts& facts, Work work) {
  return std::thread([&cpus, &facts, work = std::move(work)] {
    const pthread_t self = pthread_self();
    bind_threads(std::span(&self, 1), std::span(&cpus, 1));
    try {
      work();
    } catch (const std::exception& error) {
      facts.failure = error.what();
    }
  });
}

void blame(Finding& finding, Verdict verdict, const std::string& advice) {
  if (finding.verdict != Verdict::kWrong) finding.verdict = verdict;
  finding.advice += cat(finding.advice.empty() ? "" : "; ", advice);
}

Finding judge_link(const GpuLinkFacts& gpu, double best) {
  const double link = link_rate(gpu.link.speed, gpu.link.width);
  Finding finding{"GPU copies", Verdict::kOk,
                  cat(gpu.device, ": to the host ", gbytes(gpu.to_host), ", to the GPU ",
                      gbytes(gpu.to_device), ", both at once ", gbytes(gpu.both), " each way"),
                  ""};
  if (gpu.all > 0) finding.text += cat(", all GPUs at once ", gbytes(gpu.all), " each way");
  finding.text += link > 0 ? cat("; the link (", gpu.link.speed, " x", gpu.link.width, ") carries ",
                                 gbytes(link), " with headers")
                           : "; what the link carries is not shown";
  const double one_way = std::min(gpu.to_host, gpu.to_device);
  if (link > 0 && one_way < kLeastOneWay * link) {
    blame(finding, Verdict::kWrong,
          "less than 70 % of what the link carries: look for link errors (dmesg, lspci -vv), a "
          "riser, an IOMMU that translates, relaxed ordering or large payloads switched off in the "
          "BIOS, and for others who use the GPU or its switch now");
  } else if (one_way < kLeastOfTwin * best) {
    blame(finding, Verdict::kWrong,
          cat("another GPU of this machine reaches ", gbytes(best),
              ": look whether its slot has fewer lanes, whether its switch is shared, and whether "
              "others use it now"));
  }
  if (link > 0 && gpu.link.speed != gpu.link.most_speed) {
    blame(finding, Verdict::kNote,
          cat("the link could run at ", gpu.link.most_speed,
              " and does not even under load: look at the slot, the riser and the BIOS"));
  }
  if (link > 0 && gpu.both < kLeastBothWays * link) {
    blame(finding, Verdict::kNote,
          "both ways at once are less than 60 % of the link each, which limits HFReduce: the CPU's "
          "PCIe root may do no more; look whether the BIOS has relaxed ordering and preferred I/O "
          "for the GPU");
  }
  if (gpu.all > 0 && gpu.all < kLeastOfTwin * gpu.both) {
    blame(finding, Verdict::kNote,
          "it is slower while the others copy: they share a switch's way up or the memory's rate "
          "(hfreduce topo shows who sits where)");
  }
  return finding;
}

}  // namespace

double link_rate(const std::string& speed, int width) {
  const double gigatransfers = std::strtod(speed.c_str(), nullptr);
  if (!(gigatransfers > 0) || width <= 0) return 0;
  // 8 bits travel as 10 up to generation 2, 128 as 130 up to 5; then 242 of 256 bytes are packets.
  const double share = gigatransfers < 8 ? 0.8 : gigatransfers < 64 ? 128.0 / 130 : 242.0 / 256;
  return gigatransfers * 1e9 / 8 * share * width;
}

std::vector<GpuLinkFacts> measure_gpu_links(std::span<const std::unique_ptr<LinkGpu>> gpus,
                                            const GpuSurroundings& surroundings) {
  std::vector<GpuLinkFacts> all(gpus.size());
  std::vector<std::vector<int>> cpus(gpus.size());
  for (size_t i = 0; i < gpus.size(); ++i) {
    LinkGpu& gpu = *gpus[i];
    GpuLinkFacts& facts = all[i];
    facts.device = cat(gpu.bus_id(), " ", gpu.name());
    cpus[i] = surroundings.cpus(gpu.bus_id());
    near_gpu(cpus[i], facts, [&] {
      gpu.open();
      facts.to_host = gpu.copy(true, false, kMeasureNs);
      facts.to_device = gpu.copy(false, true, kMeasureNs);
      facts.both = gpu.copy(true, true, kMeasureNs);
      facts.link = surroundings.link(gpu.bus_id());  // an idle one slows down
    }).join();
  }
  std::vector<size_t> sound;
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (all[i].failure.empty()) sound.push_back(i);
  }
  if (sound.size() < 2) return all;
  std::barrier together(static_cast<std::ptrdiff_t>(sound.size()));
  std::vector<std::thread> threads;
  for (size_t i : sound) {
    threads.push_back(near_gpu(cpus[i], all[i], [&, i] {
      together.arrive_and_wait();
      all[i].all = gpus[i]->copy(true, true, kMeasureNs);
    }));
  }
  for (std::thread& thread : threads) thread.join();
  return all;
}

std::vector<Finding> judge_gpu_links(const std::vector<GpuLinkFacts>& gpus,
                                     const std::string& skipped) {
  if (gpus.empty()) return {{"GPU copies", Verdict::kSkipped, skipped, ""}};
  double best = 0;
  for (const GpuLinkFacts& gpu : gpus) best = std::max(best, std::min(gpu.to_host, gpu.to_device));
  std::vector<Finding> findings;
  for (const GpuLinkFacts& gpu : gpus) {
    if (gpu.failure.empty()) {
      findings.push_back(judge_link(gpu, best));
      continue;
    }
    findings.push_back({"GPU copies", Verdict::kWrong, cat(gpu.device, ": ", gpu.failure),
                        "it cannot be used as it is: see nvidia-smi and dmesg, and whether its "
                        "memory, locked memory (ulimit -l) or a compute mode is at its limit"});
  }
  return findings;
}

}  // namespace hfr::tools
