// What sysfs says of links.
#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/text.hpp"
#include "tools/doctor_net.hpp"

namespace hfr::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kGidsLookedAt = 64;

// Empty when it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int number_or(const std::string& text, int otherwise) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  return end == text.c_str() ? otherwise : static_cast<int>(value);
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// In the short form: "fe80::1", or "192.0.2.1" where an IPv4 address is in it.
std::string gid_text(const std::string& line) {
  in6_addr gid;
  if (inet_pton(AF_INET6, line.c_str(), &gid) != 1 || IN6_IS_ADDR_UNSPECIFIED(&gid)) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (IN6_IS_ADDR_V4MAPPED(&gid)) {
    inet_ntop(AF_INET, &gid.s6_addr[12], text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, &gid, text, sizeof(text));
  }
  return text;
}

void read_gids(const fs::path& folder, Link& link) {
  for (int i = 0; i < kGidsLookedAt; ++i) {
    const std::string name = cat(i);
    LinkAddress gid{i, gid_text(first_line(folder / "gids" / name)), "InfiniBand"};
    if (gid.address.empty()) continue;
    if (link.layer != "InfiniBand") {
      const std::string type = first_line(folder / "gid_attrs/types" / name);
      if (type.empty()) continue;
      gid.type = type.find("v2") != std::string::npos ? "RoCE v2" : "RoCE v1";
      if (link.interface.empty()) link.interface = first_line(folder / "gid_attrs/ndevs" / name);
    }
    link.addresses.push_back(gid);
  }
}

// "4: ACTIVE", "100 Gb/sec (4X EDR)"
Link read_port(const fs::path& sys, const fs::path& device, const fs::path& folder) {
  Link link;
  link.kind = Link::Kind::kVerbs;
  link.name = device.filename();
  link.port = number_or(folder.filename(), 0);
  const std::string state = first_line(folder / "state");
  link.state = state.substr(std::min(state.size(), state.find(' ') + 1));
  link.up = link.state == "ACTIVE";
  link.layer = first_line(folder / "link_layer");
  link.gbit_per_s = std::strtod(first_line(folder / "rate").c_str(), nullptr);
  link.numa = number_or(first_line(device / "device/numa_node"), -1);
  read_gids(folder, link);
  // Software devices name their interface, with or without GIDs.
  if (link.interface.empty() && link.layer != "InfiniBand")
    link.interface = first_line(device / "parent");
  if (!link.interface.empty())
    link.mtu = number_or(first_line(sys / "class/net" / link.interface / "mtu"), 0);
  return link;
}

Link read_interface(const fs::path& sys, const NetworkInterface& interface) {
  const fs::path folder = sys / "class/net" / interface.name;
  Link link;
  link.name = interface.name;
  link.layer = number_or(first_line(folder / "type"), 0) == 32 ? "InfiniBand" : "Ethernet";
  // What has no carrier to lose is "unknown".
  link.state = first_line(folder / "operstate");
  link.up = link.state == "up" || link.state == "unknown";
  link.gbit_per_s = std::max(0, number_or(first_line(folder / "speed"), 0)) / 1e3;
  link.mtu = number_or(first_line(folder / "mtu"), 0);
  link.numa = number_or(first_line(folder / "device/numa_node"), -1);
  const bool v6 = interface.address.find(':') != std::string::npos;
  link.addresses.push_back({0, interface.address, v6 ? "IPv6" : "IPv4"});
  return link;
}

}  // namespace

std::string Link::text() const { return kind == Kind::kVerbs ? cat(name, " port ", port) : name; }

std::vector<Link> find_links(const std::string& sys,
                             const std::vector<NetworkInterface>& interfaces) {
  std::vector<Link> links;
  for (const fs::path& device : entries(fs::path(sys) / "class/infiniband")) {
    for (const fs::path& port : entries(device / "ports"))
      links.push_back(read_port(sys, device, port));
  }
  for (const NetworkInterface& interface : interfaces)
    links.push_back(read_interface(sys, interface));
  return links;
}

}  // namespace hfr::tools
