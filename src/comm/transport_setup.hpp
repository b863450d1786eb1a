// Which transport joins the nodes, and with which settings: agreed by all ranks before any of them
// connects.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "engine/shape.hpp"
#include "transport/verbs/transport.hpp"

namespace hfr {

// What a rank found of verbs.
struct RailFinding {
  std::vector<VerbsRail> rails;
  std::string why_none;
};

// Looks for rails where the settings may want them.
Result<RailFinding> look_for_rails(const Config& config, const Logger& logger);

enum class TransportChoice { kTcp, kLoopback, kVerbs };

// What all ranks must know of each other to choose alike.
struct TransportFacts {
  bool same_process = false;          // all ranks
  std::vector<std::string> no_rails;  // by rank: why it has none; empty: it has
};

// The same on all ranks. A warning goes to `logger` where some ranks could use verbs and others
// keep them from it.
Result<TransportChoice> choose_transport(const std::string& setting, const TransportFacts& facts,
                                         const Shape& shape, const Logger& logger);

// All but where to listen and who proves what.
void set_verbs_options(const Config& config, const std::vector<VerbsRail>& found, int local_rank,
                       VerbsOptions& options);

}  // namespace hfr
