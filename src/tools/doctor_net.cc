#include "tools/doctor_net.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "base/net.hpp"
#include "bootstrap/auth.hpp"
#include "comm/transport_setup.hpp"
#include "topo/discovery.hpp"
#include "topo/rails.hpp"
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

// Whether `folder` holds a file whose name is `name` and a number.
bool has_numbered(const char* folder, const std::string& name) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string found = entry.path().filename().string();
    if (found.size() > name.size() && found.starts_with(name) &&
        std::isdigit(static_cast<unsigned char>(found[name.size()])) != 0) {
      return true;
    }
  }
  return false;
}

// The rails that a node's first rank would take.
VerbsFacts learn_verbs(const Config& config) {
  VerbsFacts facts;
  facts.has_device_files = has_numbered("/dev/infiniband", "uverbs");
  facts.has_gpus = has_numbered("/dev", "nvidia");
  facts.lockable = lockable_bytes();
  auto found = find_verbs_rails(config.ib_hca, {});
  if (!found.ok()) {
    facts.usable = found.status();
    return facts;
  }
  const SecretHandshake unused(Secret(), "", 0);
  VerbsOptions options{.bind_host = "", .handshake = unused, .rails = {}, .logger = {}};
  set_verbs_options(config, *found, 0, options);
  for (const VerbsRail& rail : options.rails) facts.rails.push_back(rail.text());
  return facts;
}

void add_distances(std::vector<Link>& links) {
  std::vector<int> nodes;
  for (const Link& link : links) nodes.push_back(link.numa);
  const std::vector<int> distances = numa_distances(nodes);
  for (size_t i = 0; i < links.size(); ++i) {
    if (links[i].numa >= 0) links[i].numa_distance = distances[i];
  }
}

}  // namespace

std::optional<size_t> lockable_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || may_lock_all())
    return std::nullopt;
  return limit.rlim_cur;
}

Result<NetReport> examine_net(const DoctorNetOptions& options) {
  HFR_ASSIGN_OR_RETURN(const Config config, load_config(process_environment()));
  HFR_ASSIGN_OR_RETURN(const Topology topology, discover_topology());
  std::vector<Link> links = find_links("/sys", topology.interfaces);
  add_distances(links);
  NetReport report = diagnose(std::move(links), config, learn_verbs(config));
  if (options.measure) {
    auto host = interface_address(config.socket_ifname);
    if (host.ok()) {
      measure_links(report, config, *host);
    } else {  // diagnose() has told why
      for (Link& link : report.links) link.not_measured = host.status().message();
    }
  }
  return report;
}

int doctor_net(const DoctorNetOptions& options) {
  auto report = examine_net(options);
  if (!report.ok()) {
    std::cerr << "hfreduce doctor net: " << report.status().message() << "\n";
    return 1;
  }
  std::cout << (options.json ? report_json(*report) : report_text(*report));
  return report->healthy() ? 0 : 1;
}

}  // namespace hfr::tools
