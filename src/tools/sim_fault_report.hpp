// What `hfreduce sim --fault` says: which faults there were, and how the ranks ended. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/sim_run.hpp"

namespace hfr::tools {

// Empty where no point has faults.
std::string fault_table(const std::vector<SimPoint>& points);
// Adds "faults" and "endings" to the point's object.
void add_faults(const SimPoint& point, nlohmann::ordered_json& json);

}  // namespace hfr::tools
