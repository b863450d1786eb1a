// What would be chosen, and what is wrong.
#include <algorithm>

#include "base/text.hpp"
#include "tools/doctor_net.hpp"

namespace hfr::tools {
namespace {

// A node's staging, at most, and with ranks on GPUs (docs/configuration.md).
constexpr size_t kStagingBytes = size_t{128} << 20;
constexpr size_t kDeviceStagingBytes = size_t{768} << 20;

bool is_verbs(const Link& link) { return link.kind == Link::Kind::kVerbs; }
bool is_loopback(const Link& link) { return !is_verbs(link) && link.name == "lo"; }

bool is_link_local(const LinkAddress& address) {
  return address.address.starts_with("fe80:") && address.type != "InfiniBand";
}

std::string interface_of(const Link& link) {
  return link.interface.empty() ? "its network interface" : link.interface;
}

void check_port(Link& link) {
  if (link.state == "INIT") {
    link.problems.push_back(
        "the port has no address yet: a subnet manager has to run on the fabric (opensm, or in a "
        "switch)");
  } else if (!link.up) {
    std::string advice = "the port is down: look at its cable and the switch's port";
    if (link.layer != "InfiniBand")
      advice += cat(", and whether ", interface_of(link), " is up (ip link set ",
                    link.interface.empty() ? "NAME" : link.interface, " up)");
    link.problems.push_back(std::move(advice));
  } else if (link.addresses.empty()) {
    link.problems.push_back(cat("the port has no GID: give ", interface_of(link),
                                " an address (ip addr add ADDRESS/BITS dev ",
                                link.interface.empty() ? "NAME" : link.interface, ")"));
  } else if (std::all_of(link.addresses.begin(), link.addresses.end(), is_link_local)) {
    link.problems.push_back(
        cat("the port has link-local GIDs only, which reach its own segment: give ",
            interface_of(link), " an IPv4 or a global IPv6 address"));
  }
}

void choose(NetReport& report, const Config& config, const VerbsFacts& verbs) {
  const std::string rails = cat(verbs.rails.size(), verbs.rails.size() == 1 ? " port" : " ports");
  if (config.transport != "auto") {
    report.transport = config.transport;
    report.why = cat("HFREDUCE_TRANSPORT=", config.transport, " asks for it");
    if (config.transport == "verbs" && !verbs.usable.ok())
      report.problems.push_back(verbs.usable.message());
    return;
  }
  report.transport = verbs.usable.ok() ? "verbs" : "tcp";
  report.why = verbs.usable.ok() ? cat(rails, " can be used; if a rank has none, all use tcp")
                                 : verbs.usable.message();
}

// Which interface TCP takes; over verbs the ranks meet there.
void choose_interface(NetReport& report, const Config& config) {
  Link* chosen = nullptr;
  for (Link& link : report.links) {
    if (is_verbs(link)) continue;
    const bool named = !config.socket_ifname.empty();
    if (named ? link.name == config.socket_ifname
              : chosen == nullptr || (is_loopback(*chosen) && !is_loopback(link))) {
      chosen = &link;
    }
  }
  if (chosen != nullptr) {
    chosen->used = true;
    if (config.socket_ifname.empty() && is_loopback(*chosen)) {
      report.problems.push_back(
          "the loopback interface is the only one that is up: other machines cannot be reached");
    }
  } else if (config.socket_ifname.empty()) {
    report.problems.push_back("no network interface is up, not even loopback");
  } else {
    report.problems.push_back(
        cat("HFREDUCE_SOCKET_IFNAME=", config.socket_ifname, ": no such interface is up"));
  }
}

// Why ports that the kernel has might not be usable.
void check_verbs(NetReport& report, const VerbsFacts& verbs) {
  if (!verbs.has_device_files) {
    report.problems.push_back(
        "there is no /dev/infiniband/uverbs*: load the module ib_uverbs; a container needs "
        "--device=/dev/infiniband");
  } else if (!verbs.usable.ok() && report.transport != "verbs") {
    report.problems.push_back(verbs.usable.message());
  }
  const size_t staging = verbs.has_gpus ? kDeviceStagingBytes : kStagingBytes;
  if (verbs.lockable && *verbs.lockable < staging) {
    report.problems.push_back(cat(
        "memory that may be locked is limited to ", bytes_text(*verbs.lockable),
        ", and staging of up to ", bytes_text(staging), verbs.has_gpus ? " for ranks on GPUs" : "",
        " has to be registered: raise it with ulimit -l unlimited (limits.conf, systemd's "
        "LimitMEMLOCK, docker's --ulimit memlock=-1)"));
  }
}

}  // namespace

bool NetReport::healthy() const {
  return problems.empty() && std::all_of(links.begin(), links.end(),
                                         [](const Link& link) { return link.problems.empty(); });
}

NetReport diagnose(std::vector<Link> links, const Config& config, const VerbsFacts& verbs) {
  NetReport report;
  report.links = std::move(links);
  choose(report, config, verbs);
  choose_interface(report, config);
  bool any_port = false;
  for (Link& link : report.links) {
    if (is_verbs(link)) {
      any_port = true;
      link.used = report.transport == "verbs" && std::find(verbs.rails.begin(), verbs.rails.end(),
                                                           link.text()) != verbs.rails.end();
      check_port(link);
    } else if (!link.up) {
      link.problems.push_back(
          cat("the interface has no carrier (", link.state, "): look at its cable"));
    }
  }
  if (any_port) check_verbs(report, verbs);
  return report;
}

}  // namespace hfr::tools
