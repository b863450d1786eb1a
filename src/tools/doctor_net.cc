#include "tools/doctor_net.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "base/net.hpp"
#include "base/text.hpp"
#include "topo/discovery.hpp"
#include "topo/placement.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr::tools {
namespace {

// The kernel does not count locked memory against who has CAP_IPC_LOCK.
bool may_lock_all() {
  constexpr int kCapIpcLock = 14;
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    if (word == "CapEff:" && file >> word)
      return (std::strtoull(word.c_str(), nullptr, 16) >> kCapIpcLock & 1) != 0;
  }
  return false;
}

std::optional<size_t> lockable_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || may_lock_all())
    return std::nullopt;
  return limit.rlim_cur;
}

bool has_device_files() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/infiniband", error)) {
    if (entry.path().filename().string().starts_with("uverbs")) return true;
  }
  return false;
}

VerbsFacts learn_verbs() {
  VerbsFacts facts;
  auto rails = find_verbs_rails("", {});
  if (rails.ok()) {
    for (const VerbsRail& rail : *rails) facts.rails.push_back(rail.text());
  } else {
    facts.usable = rails.status();
  }
  facts.has_device_files = has_device_files();
  facts.lockable = lockable_bytes();
  return facts;
}

Result<NetReport> examine(const DoctorNetOptions& options) {
  HFR_ASSIGN_OR_RETURN(const Config config, load_config(process_environment()));
  HFR_ASSIGN_OR_RETURN(const Topology topology, discover_topology());
  NetReport report =
      diagnose(find_links("/sys", topology.interfaces, affinity_list()), config, learn_verbs());
  if (options.measure) {
    HFR_ASSIGN_OR_RETURN(const std::string host, interface_address(""));
    measure_links(report, host);
  }
  return report;
}

}  // namespace

int doctor_net(const DoctorNetOptions& options) {
  auto report = examine(options);
  if (!report.ok()) {
    std::cerr << "hfreduce doctor net: " << report.status().message() << "\n";
    return 1;
  }
  std::cout << (options.json ? report_json(*report) : report_text(*report));
  return report->healthy() ? 0 : 1;
}

}  // namespace hfr::tools
