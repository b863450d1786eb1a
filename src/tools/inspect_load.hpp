// The records that `hfreduce inspect` looks at: from which files, and what their processes do now.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/process.hpp"
#include "base/record_reader.hpp"

namespace hfr::tools {

// One rank's record, with what was seen beside it.
struct RankState {
  Record record;
  ProcessState process = ProcessState::kUnknown;
  uint64_t seen_ns = 0;  // CLOCK_MONOTONIC of its machine when it was read; 0: not known
  std::string file;
};

struct UnreadableFile {
  std::string file;
  std::string why;
};

struct LoadedRecords {
  std::vector<RankState> ranks;
  std::vector<UnreadableFile> unreadable;
};

// From files, and from the files in folders that are called records. Each file's bytes go to
// `save_folder`, too, unless that is empty, with what was seen of the process.
LoadedRecords load_records(const std::vector<std::string>& paths, const std::string& save_folder);

}  // namespace hfr::tools
