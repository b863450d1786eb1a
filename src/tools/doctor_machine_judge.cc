// What is wrong with a machine, and how it is told.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.hpp"
#include "tools/doctor_machine.hpp"

namespace hfr::tools {
namespace {

using Verdict = Finding::Verdict;

// A node's staging, at most (docs/configuration.md).
constexpr size_t kStagingBytes = size_t{128} << 20;
constexpr size_t kDeviceStagingBytes = size_t{768} << 20;
constexpr size_t kFewOpenFiles = 1024;
// Twins that differ by more are not alike: measurements on a shared machine vary by less.
constexpr double kLeastOfBestNode = 0.7;
constexpr double kLeastOfMedianCpu = 0.5;

Finding software(const MachineFacts& facts) {
  std::string text = cat("Linux ", facts.kernel);
  text += facts.nvidia_driver.empty() ? ", no NVIDIA driver"
                                      : cat(", NVIDIA driver ", facts.nvidia_driver);
  for (const std::string& driver : facts.drivers) text += cat(", ", driver);
  return {"drivers", Verdict::kOk, text, ""};
}

Finding adding_kernels(const MachineFacts& facts) {
  Finding finding{"kernels", Verdict::kOk, cat("adds with ", facts.adding_kernels), ""};
  if (facts.adding_kernels == "scalar") {
    finding.verdict = Verdict::kWrong;
    finding.advice =
        "no vector instructions are used: unset HFREDUCE_ISA, and let a virtual machine have the "
        "host's CPU (AVX2, NEON)";
  }
  return finding;
}

Finding memory_speed(const MachineFacts& facts) {
  Finding finding{"memory", Verdict::kOk, "", ""};
  double best = 0;
  for (const NodeFacts& node : facts.nodes) best = std::max(best, node.memory_bytes_per_s);
  if (best == 0) return {"memory", Verdict::kSkipped, "not measured", ""};
  for (const NodeFacts& node : facts.nodes) {
    finding.text += cat(finding.text.empty() ? "" : ", ", "NUMA node ", node.numa, ": ",
                        gbytes(node.memory_bytes_per_s), " by ", node.cpus.size(), " CPUs");
    if (node.memory_bytes_per_s >= kLeastOfBestNode * best) continue;
    finding.verdict = Verdict::kWrong;
    finding.advice += cat(finding.advice.empty() ? "" : "; ", "NUMA node ", node.numa,
                          " gives less than its twin: look whether all its memory channels are "
                          "filled and run at one speed, and whether others use it now");
  }
  // With fewer CPUs there is less to expect.
  const bool same_cpus = std::all_of(
      facts.nodes.begin(), facts.nodes.end(),
      [&](const NodeFacts& node) { return node.cpus.size() == facts.nodes[0].cpus.size(); });
  if (!same_cpus && finding.verdict == Verdict::kWrong) finding.verdict = Verdict::kNote;
  return finding;
}

Finding adders(const MachineFacts& facts) {
  std::vector<std::pair<double, int>> rates;
  for (const NodeFacts& node : facts.nodes) {
    for (size_t i = 0; i < node.add_bytes_per_s.size(); ++i)
      rates.emplace_back(node.add_bytes_per_s[i], node.cpus[i]);
  }
  if (rates.empty()) return {"adding", Verdict::kSkipped, "not measured", ""};
  std::sort(rates.begin(), rates.end());
  const double median = rates[rates.size() / 2].first;
  Finding finding{"adding", Verdict::kOk,
                  cat(rates.size(), " CPUs at once, each ", gbytes(median), " of inputs, at least ",
                      gbytes(rates[0].first)),
                  ""};
  for (const auto& [rate, cpu] : rates) {
    if (rate >= kLeastOfMedianCpu * median) break;
    finding.verdict = Verdict::kWrong;
    finding.advice += cat(finding.advice.empty() ? "" : "; ", "CPU ", cpu, " adds ", gbytes(rate),
                          ": it is throttled, or busy with something else");
  }
  return finding;
}

Finding shared_memory(const MachineFacts& facts) {
  if (!facts.shared_memory.ok()) {
    return {"shared memory", Verdict::kWrong, facts.shared_memory.message(),
            cat("a node's ranks share up to ", bytes_text(kStagingBytes),
                ": raise the limit on memory (cgroup, ulimit -v) or set HFREDUCE_CHUNK_BYTES and "
                "HFREDUCE_WINDOW lower")};
  }
  return {"shared memory", Verdict::kOk, cat(bytes_text(kStagingBytes), " could be had"), ""};
}

Finding huge_pages(const MachineFacts& facts) {
  if (facts.huge_pages) return {"huge pages", Verdict::kOk, "granted to shared memory", ""};
  return {"huge pages", Verdict::kNote,
          cat("not granted to shared memory (shmem_enabled: ",
              facts.huge_pages_setting.empty() ? "not there" : facts.huge_pages_setting, ")"),
          "they save time in large messages: Linux 6.1 or later gives them where "
          "/sys/kernel/mm/transparent_hugepage/enabled is not 'never' and memory is not in pieces"};
}

Finding limits(const MachineFacts& facts) {
  const size_t needed = facts.has_gpus ? kDeviceStagingBytes : kStagingBytes;
  Finding finding{"limits", Verdict::kOk,
                  cat("memory ", bytes_text(facts.memory_bytes), ", locked memory ",
                      facts.lockable ? bytes_text(*facts.lockable) : "without a limit", ", ",
                      facts.open_files, " open files"),
                  ""};
  const auto blame = [&](Verdict verdict, const std::string& advice) {
    if (finding.verdict != Verdict::kWrong) finding.verdict = verdict;
    finding.advice += cat(finding.advice.empty() ? "" : "; ", advice);
  };
  if (facts.lockable && *facts.lockable < needed) {
    const bool matters = facts.has_gpus || facts.has_verbs;
    blame(matters ? Verdict::kWrong : Verdict::kNote,
          cat("GPUs and verbs need ", bytes_text(needed),
              " of locked memory: raise it with ulimit -l unlimited (limits.conf, systemd's "
              "LimitMEMLOCK, docker's --ulimit memlock=-1)"));
  }
  if (facts.open_files < kFewOpenFiles)
    blame(Verdict::kNote,
          "rank 0 of a large job needs a descriptor for each rank: ulimit -n 65536");
  if (facts.memory_bytes < 2 * needed)
    blame(Verdict::kWrong, cat("staging alone takes up to ", bytes_text(needed)));
  return finding;
}

Finding iommu(const MachineFacts& facts) {
  if (facts.num_iommu_groups == 0) return {"IOMMU", Verdict::kOk, "off, or not shown", ""};
  Finding finding{"IOMMU", Verdict::kOk,
                  cat(facts.num_iommu_groups, " groups, type ", facts.iommu_type), ""};
  if (facts.iommu_type.starts_with("DMA") && (facts.has_gpus || facts.has_verbs)) {
    finding.verdict = Verdict::kNote;
    finding.advice =
        "it translates every transfer of GPUs and NICs: iommu=pt on the kernel's command line "
        "lets them through untranslated";
  }
  return finding;
}

Finding access_control(const MachineFacts& facts) {
  if (facts.num_bridges == 0) {
    return {"ACS", Verdict::kSkipped,
            "no PCI bridge's setting could be read: there is none, or it takes root", ""};
  }
  Finding finding{"ACS", Verdict::kOk,
                  cat(facts.num_redirecting, " of ", facts.num_bridges,
                      " PCI bridges send peers' traffic through the root"),
                  ""};
  if (facts.num_redirecting > 0 && facts.has_gpus) {
    finding.verdict = Verdict::kNote;
    finding.advice =
        "HFReduce goes through host memory and does not mind; GPUs that reach each other over PCIe "
        "(HFREDUCE_GPU_GROUP) are slower for it: switch ACS off where no virtual machine needs it";
  }
  return finding;
}

Finding pci_link(const PciLinkFacts& facts) {
  const PciLink& link = facts.link;
  Finding finding{"PCI link", Verdict::kOk,
                  cat(facts.device, ": ", link.speed, " x", link.width, ", at most ",
                      link.most_speed, " x", link.most_width),
                  ""};
  if (link.width < link.most_width) {
    finding.verdict = Verdict::kWrong;
    finding.advice =
        "it has fewer lanes than it could: look whether it sits in the right slot, and firmly";
  } else if (link.speed != link.most_speed) {
    finding.verdict = Verdict::kNote;
    finding.advice = facts.is_gpu ? "GPUs slow their link down when idle; look again under load"
                                  : "it runs slower than it could: look at the slot and the BIOS";
  }
  return finding;
}

Finding all_reduce(const MachineFacts& facts) {
  if (!facts.all_reduce) return {"all-reduce", Verdict::kSkipped, "not measured", ""};
  const AllReduceFacts& run = *facts.all_reduce;
  if (!run.status.ok()) {
    return {"all-reduce", Verdict::kWrong, run.status.message(),
            "memory or a CPU of this machine changes data: run it again, and take the machine out "
            "of work when it says so twice"};
  }
  Finding finding{"all-reduce", Verdict::kOk,
                  cat(run.num_ranks, " ranks, ", bytes_text(run.bytes),
                      " with checksums: ", gbytes(run.bytes_per_s), ", every value right"),
                  ""};
  if (run.num_wrong > 0) {
    finding.verdict = Verdict::kWrong;
    finding.text = cat(run.num_wrong, " values of ", bytes_text(run.bytes), " are wrong");
    finding.advice = "a CPU of this machine adds wrongly: take it out of work";
  }
  return finding;
}

void add_net(const NetReport& net, std::vector<Finding>& findings) {
  findings.push_back({"network", Verdict::kOk, cat(net.transport, ": ", net.why), ""});
  const auto wrong = [&](const std::string& what, const std::string& advice) {
    findings.push_back({"network", Verdict::kWrong, what, advice});
  };
  for (const Link& link : net.links) {
    for (const std::string& problem : link.problems) wrong(link.text(), problem);
  }
  for (const std::string& problem : net.problems) {
    // Locked memory is among the limits.
    if (problem.starts_with("memory that may be locked")) continue;
    const bool no_device = problem.starts_with("there is no /dev/infiniband");
    findings.push_back({"network", no_device ? Verdict::kNote : Verdict::kWrong,
                        "no link in particular", problem});
  }
}

const char* word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kWrong:
      return "WRONG";
    case Verdict::kSkipped:
      break;
  }
  return "skipped";
}

}  // namespace

std::string gbytes(double bytes_per_s) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f GB/s", bytes_per_s * 1e-9);
  return text;
}

std::vector<Finding> judge(const MachineFacts& facts) {
  std::vector<Finding> findings = {software(facts), adding_kernels(facts), memory_speed(facts),
                                   adders(facts),   shared_memory(facts),  huge_pages(facts),
                                   limits(facts),   iommu(facts),          access_control(facts)};
  for (const PciLinkFacts& link : facts.pci_links) findings.push_back(pci_link(link));
  std::string skipped = facts.gpus_skipped;
  if (skipped.empty()) skipped = facts.has_gpus ? "not measured" : "this machine shows no GPU";
  for (Finding& finding : judge_gpu_links(facts.gpus, skipped))
    findings.push_back(std::move(finding));
  add_net(facts.net, findings);
  findings.push_back(all_reduce(facts));
  return findings;
}

bool any_wrong(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.verdict == Verdict::kWrong; });
}

std::string findings_text(const std::vector<Finding>& findings) {
  std::ostringstream out;
  for (const Finding& finding : findings) {
    char begin[32];
    std::snprintf(begin, sizeof(begin), "%-8s %-14s ", word(finding.verdict), finding.name.c_str());
    out << begin << finding.text << "\n";
    if (!finding.advice.empty()) out << std::string(24, ' ') << finding.advice << "\n";
  }
  if (!any_wrong(findings)) out << "nothing is wrong\n";
  return out.str();
}

std::string findings_json(const std::vector<Finding>& findings, const MachineFacts& facts) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    std::string verdict = word(finding.verdict);
    if (finding.verdict == Verdict::kWrong) verdict = "wrong";
    list.push_back({{"name", finding.name},
                    {"verdict", verdict},
                    {"text", finding.text},
                    {"advice", finding.advice}});
  }
  nlohmann::json nodes = nlohmann::json::array();
  for (const NodeFacts& node : facts.nodes) {
    nodes.push_back({{"numa_node", node.numa},
                     {"cpus", node.cpus},
                     {"memory_bytes_per_s", node.memory_bytes_per_s},
                     {"add_bytes_per_s", node.add_bytes_per_s}});
  }
  nlohmann::json gpus = nlohmann::json::array();
  const auto known = [](double rate) { return rate > 0 ? nlohmann::json(rate) : nlohmann::json(); };
  for (const GpuLinkFacts& gpu : facts.gpus) {
    gpus.push_back(
        {{"device", gpu.device},
         {"failure", gpu.failure.empty() ? nlohmann::json() : nlohmann::json(gpu.failure)},
         {"to_host_bytes_per_s", known(gpu.to_host)},
         {"to_device_bytes_per_s", known(gpu.to_device)},
         {"both_ways_bytes_per_s", known(gpu.both)},
         {"all_gpus_bytes_per_s", known(gpu.all)},
         {"link_bytes_per_s", known(link_rate(gpu.link.speed, gpu.link.width))}});
  }
  const nlohmann::json json = {
      {"healthy", !any_wrong(findings)}, {"findings", list}, {"numa_nodes", nodes}, {"gpus", gpus}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hfr::tools
