// Discovery: asks hwloc what this machine is made of.
#pragma once

#include "base/status.hpp"
#include "topo/topology.hpp"

namespace hfr {

// Takes tens of milliseconds: for tools and set-up, once.
Result<Topology> discover_topology();

}  // namespace hfr
