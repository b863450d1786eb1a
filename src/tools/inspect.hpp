// `hfreduce inspect`: what the ranks of a communicator did last, from the records that each keeps,
// and who waits for whom (docs/diagnosis.md).
#pragma once

#include <string>
#include <vector>

#include "tools/inspect_verdict.hpp"

namespace hfr::tools {

struct InspectOptions {
  std::vector<std::string> paths;  // folders and files; none: the default folders
  bool json = false;
  std::string save_folder;  // copies go there; empty: none are made
};

// Prints; the exit status.
int inspect(const InspectOptions& options);

// Those of one communicator; at most one a rank.
struct InspectedCommunicator {
  std::vector<RankState> ranks;
  Verdict verdict;
};
// The latest one first.
std::vector<InspectedCommunicator> judge_all(std::vector<RankState> ranks);

// For people: the latest that have trouble, and how many others there are; or all.
std::string inspect_text(const std::vector<InspectedCommunicator>& communicators,
                         const std::vector<UnreadableFile>& unreadable, bool show_all);
std::string inspect_json(const std::vector<InspectedCommunicator>& communicators,
                         const std::vector<UnreadableFile>& unreadable);

}  // namespace hfr::tools
