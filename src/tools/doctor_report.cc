// A report as text and as JSON.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.hpp"
#include "tools/doctor_net.hpp"

namespace hfr::tools {
namespace {

std::string fixed(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string address_text(const Link& link, const LinkAddress& address) {
  if (link.kind == Link::Kind::kTcp) return address.address;
  return cat("GID ", address.index, " (", address.address, ", ", address.type, ")");
}

std::string link_text(const Link& link) {
  const std::string indent(11, ' ');
  std::ostringstream out;
  out << (link.kind == Link::Kind::kVerbs ? "port       " : "interface  ") << link.text() << ": "
      << link.state << ", " << link.layer;
  if (link.gbit_per_s > 0) out << ", " << link.gbit_per_s << " Gbit/s";
  if (!link.interface.empty()) out << ", on " << link.interface;
  if (link.mtu > 0) out << ", MTU " << link.mtu;
  if (link.numa >= 0) out << ", NUMA node " << link.numa;
  if (link.numa_distance > 0) out << " at distance " << link.numa_distance;
  out << (link.used ? ", used" : ", not used") << "\n";
  for (const LinkAddress& address : link.addresses)
    out << indent << address_text(link, address) << "\n";
  if (link.speed) {
    out << indent << "against itself: puts of 1 MiB " << fixed(link.speed->put_mbytes_per_s, 0)
        << " MB/s, half a round trip of 8 B " << fixed(link.speed->half_round_trip_us, 2)
        << " us\n";
  } else if (!link.not_measured.empty()) {
    out << indent << "not measured: " << link.not_measured << "\n";
  }
  for (const std::string& problem : link.problems) out << indent << "WRONG: " << problem << "\n";
  return out.str();
}

template <typename Number>
nlohmann::json known(Number value) {
  return value > 0 ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json link_json(const Link& link) {
  nlohmann::json addresses = nlohmann::json::array();
  for (const LinkAddress& address : link.addresses) {
    addresses.push_back(
        {{"index", address.index}, {"address", address.address}, {"type", address.type}});
  }
  nlohmann::json json = {{"kind", link.kind == Link::Kind::kVerbs ? "verbs" : "tcp"},
                         {"name", link.name},
                         {"state", link.state},
                         {"up", link.up},
                         {"used", link.used},
                         {"layer", link.layer},
                         {"gbit_per_s", known(link.gbit_per_s)},
                         {"mtu", known(link.mtu)},
                         {"numa_node", link.numa >= 0 ? nlohmann::json(link.numa) : nullptr},
                         {"numa_distance", known(link.numa_distance)},
                         {"addresses", addresses},
                         {"problems", link.problems},
                         {"speed", nullptr},
                         {"not_measured", link.not_measured}};
  if (link.kind == Link::Kind::kVerbs) {
    json["port"] = link.port;
    json["interface"] = link.interface;
  }
  if (link.speed) {
    json["speed"] = {{"put_mbytes_per_s", link.speed->put_mbytes_per_s},
                     {"half_round_trip_us", link.speed->half_round_trip_us}};
  }
  return json;
}

}  // namespace

std::string report_text(const NetReport& report) {
  std::ostringstream out;
  out << "transport  " << report.transport << ": " << report.why << "\n";
  for (const Link& link : report.links) out << link_text(link);
  for (const std::string& problem : report.problems) out << "WRONG      " << problem << "\n";
  if (report.healthy()) out << "nothing is wrong\n";
  return out.str();
}

std::string report_json(const NetReport& report) {
  nlohmann::json links = nlohmann::json::array();
  for (const Link& link : report.links) links.push_back(link_json(link));
  const nlohmann::json json = {{"transport", report.transport},
                               {"why", report.why},
                               {"links", links},
                               {"problems", report.problems},
                               {"healthy", report.healthy()}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hfr::tools
