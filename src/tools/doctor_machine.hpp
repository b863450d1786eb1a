// `hfreduce doctor`: whether this machine gives what it should, and what to do where it does not.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "tools/doctor_finding.hpp"
#include "tools/doctor_gpus.hpp"
#include "tools/doctor_net.hpp"
#include "topo/topology.hpp"

namespace hfr::tools {

// A NUMA node with CPUs that this process may use.
struct NodeFacts {
  int numa = 0;
  std::vector<int> cpus;
  double memory_bytes_per_s = 0;        // reads and writes, all these CPUs at work; 0: not measured
  std::vector<double> add_bytes_per_s;  // of each CPU, all at work
};

struct PciLinkFacts {
  std::string device;  // "0000:17:00.0 (mlx5_0)"
  bool is_gpu = false;
  PciLink link;  // at rest
};

struct AllReduceFacts {
  int num_ranks = 0;
  size_t bytes = 0;
  Status status;
  size_t num_wrong = 0;  // elements
  double bytes_per_s = 0;
};

// What was found, before it is judged.
struct MachineFacts {
  std::string kernel;                // "6.1.0"
  std::string nvidia_driver;         // empty: none
  std::vector<std::string> drivers;  // of NICs: "mlx5_core 5.8"
  bool has_gpus = false;
  bool has_verbs = false;
  std::string adding_kernels;  // the instruction set
  std::vector<NodeFacts> nodes;
  Status shared_memory;  // of a node's staging
  bool huge_pages = false;
  std::string huge_pages_setting;  // of shared memory: "always [advise] never"
  std::optional<size_t> lockable;  // bytes; nothing: no limit
  size_t open_files = 0;
  size_t memory_bytes = 0;  // that this process may have
  int num_iommu_groups = 0;
  std::string iommu_type;  // "DMA-FQ", "identity"; empty: none
  int num_bridges = 0;     // PCI bridges whose access control could be read
  int num_redirecting = 0;
  std::vector<PciLinkFacts> pci_links;
  std::vector<GpuLinkFacts> gpus;            // that were measured
  std::string gpus_skipped;                  // why none were
  std::optional<AllReduceFacts> all_reduce;  // nothing: not measured
  NetReport net;
};

// Pure.
std::vector<Finding> judge(const MachineFacts& facts);
bool any_wrong(const std::vector<Finding>& findings);
std::string findings_text(const std::vector<Finding>& findings);
std::string findings_json(const std::vector<Finding>& findings, const MachineFacts& facts);

// The numbers in a list such as "0-3,8"; empty when it is no such list.
std::vector<int> parse_cpu_list(const std::string& text);
// Whether a PCI bridge's configuration space says that it sends traffic between devices below it by
// way of the root; nothing: it does not say, or too little of the space could be read.
std::optional<bool> redirects_peers(const std::string& config_space);

// Looks at this machine without measuring. `sys` and `proc` are where those file systems are.
MachineFacts learn_machine(const std::string& sys, const std::string& proc);
// Fills in what has to be measured; takes a few seconds. `sys` as above.
void measure(const std::string& sys, MachineFacts& facts);

struct DoctorMachineOptions {
  bool json = false;
  bool measure = true;
};
// Prints. The exit status: 0 nothing is wrong, 1 something is.
int doctor_machine(const DoctorMachineOptions& options);

}  // namespace hfr::tools
