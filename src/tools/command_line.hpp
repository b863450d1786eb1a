// What the command's own options need beside a parser. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace hfr::tools {

// Exit status of every subcommand when an option is not allowed, or not known.
constexpr int kBadOptions = 2;

// `arguments` without the options called `names` (each takes a value, as "--name value" or
// "--name=value").
std::vector<std::string> without_options(const std::vector<std::string>& arguments,
                                         const std::vector<std::string>& names);

// A launcher says which rank this process is: `hfreduce run` and torchrun, Open MPI, MPICH (PMI) or
// Slurm.
bool is_launched(const std::function<std::optional<std::string>(const std::string&)>& environment);

}  // namespace hfr::tools
