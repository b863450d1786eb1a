// Transport over InfiniBand verbs: reliable connections on InfiniBand and RoCE. See
// docs/transports.md. The library, libibverbs, is loaded at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/status.hpp"
#include "ports/transport.hpp"

namespace hfr {

// One port of one device.
struct VerbsRail {
  std::string device;  // "mlx5_0"
  int port = 1;
  int numa = -1;               // of the device; -1: unknown
  double link_gbit_per_s = 0;  // 0: unknown
  std::string link_layer;      // "InfiniBand", "Ethernet"
  std::string text() const;    // "mlx5_0 port 1"
};

// The ports that HFREDUCE_IB_HCA allows and that are up, in the system's order; those that are down
// are left out with a warning. Fails with the reason when none is left, or there is no libibverbs,
// or this build lacks verbs.
Result<std::vector<VerbsRail>> find_verbs_rails(const std::string& hca, const Logger& logger);

// The devices that HFREDUCE_IB_HCA asks for: names, each with ":port" or without, separated by
// commas; after a leading '^' all others; empty: all.
Result<bool> hca_allows(const std::string& hca, const std::string& device, int port);

struct VerbsOptions {
  std::string bind_host;  // numeric address: where the control connections listen and connect from
  int rank = 0;
  const Handshake& handshake;    // outlives connect()
  std::vector<VerbsRail> rails;  // the ones to use, the preferred first; at most kMaxVerbsRails
  int gid_index = -1;            // -1: chosen by reachability
  int mtu = 0;                   // at most so many bytes; 0: the smaller of both ports' active ones
  int service_level = 0;
  int traffic_class = 0;
  int timeout = kDefaultVerbsTimeout;  // of an acknowledgement: 4.096 us * 2^timeout
  int retry_count = kDefaultVerbsRetryCount;
  int queue_pairs = 0;  // per peer, 1 to 16; 0: one for each rail that both sides have
  // Of a completion queue's entries, where the device has more. Tests make it narrow.
  size_t most_completions = SIZE_MAX;
  // How long a broken connection is mended before its peer counts as lost.
  uint64_t mend_ns = 10'000'000'000;
  Logger logger;

  static constexpr int kDefaultVerbsTimeout = 18;
  // Soft-RoCE never gives up at 7.
  static constexpr int kDefaultVerbsRetryCount = 6;
};

constexpr size_t kMaxVerbsRails = 8;

std::unique_ptr<Transport> make_verbs_transport(VerbsOptions options);

}  // namespace hfr
