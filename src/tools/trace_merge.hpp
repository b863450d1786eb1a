// `hfreduce trace merge`: one trace of the files that ranks wrote.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.hpp"

namespace hfr::tools {

struct TraceMergeOptions {
  std::string output;
  std::vector<std::string> files;
};

struct TraceFile {
  std::string name;  // for sentences
  std::string text;
};
// Chrome's trace as a JSON object. Times begin at 0, in the order of the events.
Result<std::string> merge_traces(std::span<const TraceFile> files);

// The exit status.
int merge_trace_files(const TraceMergeOptions& options);

}  // namespace hfr::tools
