// `hfreduce doctor net`: the links that this machine would use, what is wrong with them, and how
// fast they are.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "base/status.hpp"
#include "topo/topology.hpp"

namespace hfr::tools {

// An address of a link: a GID of a verbs port, or that of a network interface.
struct LinkAddress {
  int index = 0;  // of a GID, in its port's table
  std::string address;
  std::string type;  // "InfiniBand", "RoCE v1", "RoCE v2", "IPv4", "IPv6"
};

// One side of the link against another on the same device.
struct LinkSpeed {
  double put_mbytes_per_s = 0;
  double half_round_trip_us = 0;
};

struct Link {
  enum class Kind { kVerbs, kTcp };
  Kind kind = Kind::kTcp;
  std::string name;       // "mlx5_0", "eth0"
  int port = 0;           // kVerbs
  std::string interface;  // kVerbs over Ethernet: whose addresses the GIDs are
  std::string layer;      // "InfiniBand", "Ethernet"
  std::string state;      // as the kernel says: "ACTIVE", "DOWN", "up", ...
  bool up = false;
  bool used = false;
  double gbit_per_s = 0;  // 0: unknown
  int mtu = 0;            // bytes, of the interface; 0: unknown
  int numa = -1;          // -1: unknown
  int numa_distance = 0;  // from the CPUs of this process; 0: unknown
  std::vector<LinkAddress> addresses;
  std::vector<std::string> problems;  // what is wrong, and what to do
  std::optional<LinkSpeed> speed;
  std::string not_measured;  // why there is no speed

  std::string text() const;  // "mlx5_0 port 1", "eth0"
};

// What the kernel knows of them, without distances. `sys` is where sysfs is; `interfaces` are those
// that are up.
std::vector<Link> find_links(const std::string& sys,
                             const std::vector<NetworkInterface>& interfaces);

// What matters for verbs besides links.
struct VerbsFacts {
  Status usable;                   // whether the transport found a rail, else why not
  std::vector<std::string> rails;  // those it would use: Link::text()
  bool has_device_files = false;   // /dev/infiniband/uverbs*
  std::optional<size_t> lockable;  // bytes that may be locked; nothing: no limit
  bool has_gpus = false;           // /dev/nvidia0 and so on
};

struct NetReport {
  std::string transport;  // that a communicator between processes on several machines would choose
  std::string why;
  std::vector<Link> links;
  std::vector<std::string> problems;  // of no link in particular

  bool healthy() const;
};

// Chooses as a communicator does, marks the links that are used, and says what is wrong.
NetReport diagnose(std::vector<Link> links, const Config& config, const VerbsFacts& verbs);

// Measures the links that are up, ports with the settings of `config`. `host`: a numeric address of
// this machine.
void measure_links(NetReport& report, const Config& config, const std::string& host);

std::string report_text(const NetReport& report);
std::string report_json(const NetReport& report);

struct DoctorNetOptions {
  bool json = false;
  bool measure = true;
};

// This machine's.
Result<NetReport> examine_net(const DoctorNetOptions& options);
// Bytes that this process may lock; nothing: no limit.
std::optional<size_t> lockable_bytes();

// Prints. The exit status: 0 nothing is wrong, 1 something is.
int doctor_net(const DoctorNetOptions& options);

}  // namespace hfr::tools
