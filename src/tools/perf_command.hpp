// `hfreduce perf` on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace hfr::tools {

// Adds the subcommand. The function runs it once the line is parsed and returns the exit status;
// `arguments` is the whole line, without the program's name.
std::function<int(const std::vector<std::string>& arguments)> add_perf_command(CLI::App& app);

// Accepts "8", "4K", "186M", "1G" and turns them into bytes.
CLI::Validator size_validator();

}  // namespace hfr::tools
