#include "tools/doctor_machine.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <thread>

#include "base/net.hpp"
#include "base/shared_memory.hpp"
#include "base/text.hpp"
#include "cpu/reduce.hpp"
#include "hfreduce/hfreduce.h"
#include "tools/measure_machine.hpp"
#include "topo/discovery.hpp"
#include "topo/placement.hpp"

namespace hfr::tools {
namespace {

namespace fs = std::filesystem;

constexpr size_t kStagingBytes = size_t{128} << 20;
constexpr size_t kMostRanks = 8;
constexpr size_t kAllReduceBytes = size_t{32} << 20;
constexpr int kAllReduces = 4;

std::string read_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..." has the version as the first
// word that begins with a digit and has a dot.
std::string nvidia_version(const std::string& proc) {
  std::istringstream words(read_line(fs::path(proc) / "driver/nvidia/version"));
  for (std::string word; words >> word;) {
    if (std::isdigit(static_cast<unsigned char>(word[0])) != 0 &&
        word.find('.') != std::string::npos) {
      return word;
    }
  }
  return "";
}

std::vector<NodeFacts> numa_nodes(const std::string& sys) {
  const std::vector<int> allowed = parse_cpu_list(affinity_list());
  std::vector<NodeFacts> nodes;
  for (const fs::path& path : entries(fs::path(sys) / "devices/system/node")) {
    const std::string name = path.filename().string();
    const auto number = name.starts_with("node") ? parse_whole<int>(name.substr(4)) : std::nullopt;
    if (!number) continue;
    NodeFacts node;
    node.numa = *number;
    for (int cpu : parse_cpu_list(read_line(path / "cpulist"))) {
      if (std::find(allowed.begin(), allowed.end(), cpu) != allowed.end()) node.cpus.push_back(cpu);
    }
    if (!node.cpus.empty()) nodes.push_back(std::move(node));
  }
  if (nodes.empty()) nodes.push_back({.numa = 0, .cpus = allowed, .add_bytes_per_s = {}});
  return nodes;
}

void learn_bridges(const std::string& sys, MachineFacts& facts) {
  constexpr const char* kBridge = "0x0604";
  for (const fs::path& device : entries(fs::path(sys) / "bus/pci/devices")) {
    if (!read_line(device / "class").starts_with(kBridge)) continue;
    std::ifstream file(device / "config", std::ios::binary);
    const auto redirects = redirects_peers(std::string(std::istreambuf_iterator<char>(file), {}));
    if (!redirects) continue;
    ++facts.num_bridges;
    if (*redirects) ++facts.num_redirecting;
  }
}

PciLink read_pci_link(const std::string& sys, const std::string& bus_id) {
  const fs::path folder = fs::path(sys) / "bus/pci/devices" / bus_id;
  const PciLink link{
      .speed = read_line(folder / "current_link_speed"),
      .most_speed = read_line(folder / "max_link_speed"),
      .width = parse_whole<int>(read_line(folder / "current_link_width")).value_or(0),
      .most_width = parse_whole<int>(read_line(folder / "max_link_width")).value_or(0)};
  // A virtual machine's devices have a link of no width.
  return link.width > 0 && link.most_width > 0 ? link : PciLink{};
}

void learn_pci_links(const std::string& sys, const Topology& topology, MachineFacts& facts) {
  for (const PciDevice& device : topology.devices) {
    const fs::path folder = fs::path(sys) / "bus/pci/devices" / device.bus_id;
    PciLinkFacts link;
    link.device = device.bus_id;
    if (!device.system_names.empty()) link.device += cat(" (", device.system_names.front(), ")");
    link.is_gpu = device.kind == PciDevice::Kind::kGpu;
    link.link = read_pci_link(sys, device.bus_id);
    if (link.link.width > 0) facts.pci_links.push_back(std::move(link));
    const std::string driver = fs::path(folder / "driver").string();
    std::error_code error;
    const std::string name = fs::read_symlink(driver, error).filename().string();
    if (device.kind != PciDevice::Kind::kNic || name.empty()) continue;
    const std::string version = read_line(fs::path(sys) / "module" / name / "version");
    const std::string text = version.empty() ? name : cat(name, " ", version);
    if (std::find(facts.drivers.begin(), facts.drivers.end(), text) == facts.drivers.end())
      facts.drivers.push_back(text);
  }
}

// By threads on the CPUs of this process that are nearest to each GPU.
void measure_gpus(const std::string& sys, MachineFacts& facts) {
  auto gpus = find_link_gpus();
  if (!gpus.ok()) {
    facts.gpus_skipped = facts.has_gpus ? gpus.status().message() : "this machine shows no GPU";
    return;
  }
  facts.has_gpus = true;
  facts.gpus = measure_gpu_links(
      *gpus, {.link = [&](const std::string& bus_id) { return read_pci_link(sys, bus_id); },
              .cpus = [&](const std::string& bus_id) -> std::vector<int> {
                const auto numa = parse_whole<int>(
                    read_line(fs::path(sys) / "bus/pci/devices" / bus_id / "numa_node"));
                for (const NodeFacts& node : facts.nodes) {
                  if (numa && node.numa == *numa) return node.cpus;
                }
                return {};
              }});
}

void try_shared_memory(MachineFacts& facts) {
  auto memory = SharedMemory::create("hfreduce doctor", kStagingBytes);
  if (!memory.ok()) {
    facts.shared_memory = memory.status();
    return;
  }
  facts.huge_pages = memory->collapse(0, kStagingBytes);
}

void learn_limits(MachineFacts& facts) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.open_files = limit.rlim_cur;
  facts.memory_bytes = machine_memory_bytes();
  facts.lockable = lockable_bytes();
}

// Ranks as threads, each chunk with checksums; every value is looked at.
AllReduceFacts run_all_reduce(size_t num_ranks) {
  AllReduceFacts facts;
  facts.num_ranks = static_cast<int>(num_ranks);
  facts.bytes = kAllReduceBytes;
  setenv("HFREDUCE_CHECK", "crc", 1);
  std::vector<hfr_comm_t> comms(num_ranks);
  const auto failed = [](hfr_status_t status, hfr_comm_t comm) {
    return Status(static_cast<Code>(status), hfr_get_last_error(comm));
  };
  hfr_comm_options_t options = HFR_COMM_OPTIONS_INIT;
  options.device = HFR_DEVICE_HOST;  // whatever HFREDUCE_DEVICE says
  hfr_status_t status = hfr_comm_init_all(comms.data(), static_cast<int>(num_ranks), &options);
  unsetenv("HFREDUCE_CHECK");
  if (status != HFR_SUCCESS) {
    facts.status = failed(status, nullptr);
    return facts;
  }
  const size_t count = kAllReduceBytes / sizeof(uint32_t);
  std::vector<Status> statuses(num_ranks);
  std::vector<size_t> wrong(num_ranks, 0);
  std::vector<std::thread> threads;
  std::vector<std::vector<uint32_t>> data(num_ranks, std::vector<uint32_t>(count));
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    for (size_t i = 0; i < count; ++i)
      data[rank][i] = static_cast<uint32_t>(i * 2'654'435'761u + rank * 40'503u);
  }
  const uint64_t begin_ns = monotonic_ns();
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      for (int round = 0; round < kAllReduces && statuses[rank].ok(); ++round) {
        const hfr_status_t done =
            hfr_all_reduce(data[rank].data(), data[rank].data(), count, HFR_UINT32, HFR_SUM,
                           comms[rank], nullptr, nullptr);
        if (done != HFR_SUCCESS) statuses[rank] = failed(done, comms[rank]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = static_cast<double>(monotonic_ns() - begin_ns) * 1e-9;
  facts.bytes_per_s = static_cast<double>(kAllReduceBytes) * kAllReduces / seconds;
  const auto ranks = static_cast<uint32_t>(num_ranks);
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    if (!statuses[rank].ok() && facts.status.ok()) facts.status = statuses[rank];
    for (size_t i = 0; i < count && statuses[rank].ok(); ++i) {
      // Each round after the first multiplies by the number of ranks.
      uint32_t expected =
          static_cast<uint32_t>(i * 2'654'435'761u) * ranks + 40'503u * (ranks * (ranks - 1) / 2);
      for (int round = 1; round < kAllReduces; ++round) expected *= ranks;
      if (data[rank][i] != expected) ++facts.num_wrong;
    }
  }
  for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
  return facts;
}

}  // namespace

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t dash = part.find('-');
    const auto first = parse_whole<int>(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_whole<int>(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last > 1'000'000) return {};
    for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

std::optional<bool> redirects_peers(const std::string& config_space) {
  constexpr size_t kFirstExtended = 0x100;
  constexpr uint32_t kAccessControl = 0x000d;
  constexpr uint16_t kRequestRedirect = 1 << 2;
  constexpr uint16_t kCompletionRedirect = 1 << 3;
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(config_space[at]); };
  size_t at = kFirstExtended;
  // A damaged list may go round in circles.
  for (int looks = 0; looks < 128 && at >= kFirstExtended && at + 8 <= config_space.size();
       ++looks) {
    const uint32_t id = byte(at) | uint32_t{byte(at + 1)} << 8;
    if (id == kAccessControl) {
      const auto control = static_cast<uint16_t>(byte(at + 6) | byte(at + 7) << 8);
      return (control & (kRequestRedirect | kCompletionRedirect)) != 0;
    }
    at = (byte(at + 2) | size_t{byte(at + 3)} << 8) >> 4;
  }
  return std::nullopt;
}

MachineFacts learn_machine(const std::string& sys, const std::string& proc) {
  MachineFacts facts;
  utsname system{};
  if (uname(&system) == 0) facts.kernel = system.release;
  facts.nvidia_driver = nvidia_version(proc);
  auto kernels = select_kernel_table(
      std::getenv("HFREDUCE_ISA") == nullptr ? "auto" : std::getenv("HFREDUCE_ISA"));
  facts.adding_kernels = kernels.ok() ? (*kernels)->name : kernels.status().message();
  facts.nodes = numa_nodes(sys);
  facts.huge_pages_setting =
      read_line(fs::path(sys) / "kernel/mm/transparent_hugepage/shmem_enabled");
  const std::vector<fs::path> groups = entries(fs::path(sys) / "kernel/iommu_groups");
  facts.num_iommu_groups = static_cast<int>(groups.size());
  if (!groups.empty()) facts.iommu_type = read_line(groups.front() / "type");
  learn_bridges(sys, facts);
  learn_limits(facts);
  facts.has_verbs = !entries(fs::path(sys) / "class/infiniband").empty();
  if (auto topology = discover_topology(); topology.ok()) {
    learn_pci_links(sys, *topology, facts);
    facts.has_gpus =
        std::any_of(topology->devices.begin(), topology->devices.end(),
                    [](const PciDevice& device) { return device.kind == PciDevice::Kind::kGpu; });
  }
  return facts;
}

void measure(const std::string& sys, MachineFacts& facts) {
  ThreadCpus each_cpu;
  for (NodeFacts& node : facts.nodes) {
    ThreadCpus threads;
    for (int cpu : node.cpus) threads.push_back({cpu});
    for (double rate : memory_rates(threads)) node.memory_bytes_per_s += rate;
    each_cpu.insert(each_cpu.end(), threads.begin(), threads.end());
  }
  auto rates = add_rates(each_cpu);
  size_t next = 0;
  for (NodeFacts& node : facts.nodes) {
    for (size_t i = 0; rates.ok() && i < node.cpus.size(); ++i)
      node.add_bytes_per_s.push_back((*rates)[next++]);
  }
  measure_gpus(sys, facts);
  const size_t ranks = std::clamp<size_t>(static_cast<size_t>(usable_cpus()), 2, kMostRanks);
  facts.all_reduce = run_all_reduce(ranks);
}

int doctor_machine(const DoctorMachineOptions& options) {
  MachineFacts facts = learn_machine("/sys", "/proc");
  auto net = examine_net({.json = false, .measure = false});
  if (!net.ok()) {
    std::cerr << "hfreduce doctor: " << net.status().message() << "\n";
    return 1;
  }
  facts.net = std::move(*net);
  try_shared_memory(facts);
  if (options.measure) measure("/sys", facts);
  const std::vector<Finding> findings = judge(facts);
  std::cout << (options.json ? findings_json(findings, facts) : findings_text(findings));
  return any_wrong(findings) ? 1 : 0;
}

}  // namespace hfr::tools
