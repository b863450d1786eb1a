#include "comm/transport_setup.hpp"

#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "topo/rails.hpp"

namespace hfr {

Result<RailFinding> look_for_rails(const Config& config, const Logger& logger) {
  RailFinding finding;
  if (config.transport != "auto" && config.transport != "verbs") return finding;
  auto rails = find_verbs_rails(config.ib_hca, logger);
  if (rails.ok()) {
    finding.rails = std::move(*rails);
  } else if (rails.status().code() == Code::kUnsupported) {
    finding.why_none = rails.status().message();
  } else {
    return rails.status();
  }
  return finding;
}

Result<TransportChoice> choose_transport(const std::string& setting, const TransportFacts& facts,
                                         const Shape& shape, const Logger& logger) {
  if (setting == "tcp") return TransportChoice::kTcp;
  if (setting == "loopback" || (setting == "auto" && facts.same_process))
    return TransportChoice::kLoopback;
  const auto lacks = [](const std::string& why) { return !why.empty(); };
  const auto first = std::find_if(facts.no_rails.begin(), facts.no_rails.end(), lacks);
  if (first == facts.no_rails.end()) return TransportChoice::kVerbs;
  const auto rank = static_cast<size_t>(first - facts.no_rails.begin());
  const std::string who = cat("rank ", rank, " (node ", shape.node_of_rank[rank], "): ", *first);
  if (setting == "verbs") {
    return Status(Code::kUnsupported, cat("HFREDUCE_TRANSPORT=verbs cannot be used by ", who));
  }
  if (!std::all_of(facts.no_rails.begin(), facts.no_rails.end(), lacks))
    logger.log(LogLevel::kWarn, "TCP joins all nodes, as verbs cannot be used by ", who);
  return TransportChoice::kTcp;
}

void set_verbs_options(const Config& config, const std::vector<VerbsRail>& found, int local_rank,
                       VerbsOptions& options) {
  std::vector<int> distances(found.size(), 0);
  if (found.size() > 1) {
    std::vector<int> numa_nodes;
    for (const VerbsRail& rail : found) numa_nodes.push_back(rail.numa);
    distances = numa_distances(numa_nodes);
  }
  for (size_t idx : order_rails(distances, local_rank)) options.rails.push_back(found[idx]);
  options.rails.resize(std::min(options.rails.size(), kMaxVerbsRails));
  if (config.ib_gid_index != "auto") {
    const std::string& text = config.ib_gid_index;
    std::from_chars(text.data(), text.data() + text.size(), options.gid_index);
  }
  if (config.ib_mtu != "auto") {
    std::from_chars(config.ib_mtu.data(), config.ib_mtu.data() + config.ib_mtu.size(), options.mtu);
  }
  options.service_level = static_cast<int>(config.ib_service_level);
  options.traffic_class = static_cast<int>(config.ib_traffic_class);
  options.timeout = static_cast<int>(config.ib_timeout);
  options.retry_count = static_cast<int>(config.ib_retry_count);
  options.queue_pairs = static_cast<int>(config.ib_queue_pairs);
  // Early enough that the loss is explained before the operation's own deadline.
  options.mend_ns = config.timeout_ms * 1'000'000 / 2;
}

}  // namespace hfr
