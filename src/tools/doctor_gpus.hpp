// What `hfreduce doctor` finds out about the links between GPUs and the host.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "tools/doctor_finding.hpp"

namespace hfr::tools {

// A PCI device's link, as the kernel shows it; empty and 0: it does not.
struct PciLink {
  std::string speed, most_speed;  // "16.0 GT/s PCIe"
  int width = 0, most_width = 0;
};

// Bytes per second that a link carries one way, before packets' headers; 0: not known.
double link_rate(const std::string& speed, int width);

struct GpuLinkFacts {
  std::string device;   // "0000:17:00.0 NVIDIA H200"
  std::string failure;  // why it could not be measured; empty: it was
  // Bytes per second. `both`, each way while both are at work; `all`, likewise while all GPUs are;
  // 0: there is one GPU.
  double to_host = 0;
  double to_device = 0;
  double both = 0;
  double all = 0;
  PciLink link;  // as it was under load
};

// A GPU whose link is measured. Its functions are called by one thread at a time, and throw
// std::runtime_error with a sentence.
class LinkGpu {
 public:
  virtual ~LinkGpu() = default;
  virtual std::string bus_id() const = 0;  // "0000:17:00.0"
  virtual std::string name() const = 0;
  // Takes memory: on the GPU, and pinned where the calling thread runs.
  virtual void open() = 0;
  // Copies in these directions for about so long. Bytes per second of each.
  virtual double copy(bool to_host, bool to_device, uint64_t for_ns) = 0;
};

// Those that this process sees; or why there are none.
Result<std::vector<std::unique_ptr<LinkGpu>>> find_link_gpus();

struct GpuSurroundings {
  std::function<PciLink(const std::string& bus_id)> link;
  std::function<std::vector<int>(const std::string& bus_id)> cpus;  // near it; empty: any
};
// Each GPU by itself, one after the other, then all at once; half a second each.
std::vector<GpuLinkFacts> measure_gpu_links(std::span<const std::unique_ptr<LinkGpu>> gpus,
                                            const GpuSurroundings& surroundings);

// Pure. `skipped`: why there is nothing to judge.
std::vector<Finding> judge_gpu_links(const std::vector<GpuLinkFacts>& gpus,
                                     const std::string& skipped);

}  // namespace hfr::tools
