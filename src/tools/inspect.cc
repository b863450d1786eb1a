#include "tools/inspect.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <tuple>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

// Of two records of one rank (a file and a copy of it), the one that knows more.
bool knows_more(const RankState& a, const RankState& b) {
  auto known = [](const RankState& rank) {
    const Record& record = rank.record;
    return std::make_tuple(record.called, record.completed, record.failure.has_value(),
                           rank.seen_ns);
  };
  return known(a) > known(b);
}

std::vector<std::string> existing(const std::vector<std::string>& folders) {
  std::vector<std::string> result;
  for (const std::string& folder : folders) {
    if (std::filesystem::is_directory(folder)) result.push_back(folder);
  }
  return result;
}

}  // namespace

std::vector<InspectedCommunicator> judge_all(std::vector<RankState> ranks) {
  std::map<uint64_t, std::map<int, RankState>> by_communicator;
  for (RankState& rank : ranks) {
    auto& members = by_communicator[rank.record.owner.communicator];
    const int idx = rank.record.owner.rank;
    // A rank's size is its communicator's: what says otherwise belongs to no other here.
    if (!members.empty() &&
        members.begin()->second.record.owner.num_ranks != rank.record.owner.num_ranks) {
      continue;
    }
    const auto found = members.find(idx);
    if (found == members.end() || knows_more(rank, found->second)) members[idx] = std::move(rank);
  }
  std::vector<InspectedCommunicator> result;
  for (auto& [id, members] : by_communicator) {
    InspectedCommunicator communicator;
    for (auto& [rank, state] : members) communicator.ranks.push_back(std::move(state));
    communicator.verdict = judge(communicator.ranks);
    result.push_back(std::move(communicator));
  }
  std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
    return a.ranks.front().record.created_epoch_ns > b.ranks.front().record.created_epoch_ns;
  });
  return result;
}

int inspect(const InspectOptions& options) {
  const bool by_default = options.paths.empty();
  const auto folders = by_default ? existing(default_record_folders()) : options.paths;
  if (!options.save_folder.empty() && mkdir(options.save_folder.c_str(), 0700) != 0 &&
      errno != EEXIST) {
    std::fprintf(stderr, "hfreduce inspect: %s cannot be made: %s\n", options.save_folder.c_str(),
                 std::strerror(errno));
    return 2;
  }
  LoadedRecords loaded = load_records(folders, options.save_folder);
  const auto communicators = judge_all(std::move(loaded.ranks));
  const std::string text = options.json
                               ? inspect_json(communicators, loaded.unreadable)
                               : inspect_text(communicators, loaded.unreadable, !by_default);
  std::fputs(text.c_str(), stdout);
  if (communicators.empty()) {
    std::string where;
    for (const std::string& folder : by_default ? default_record_folders() : options.paths)
      where += cat(where.empty() ? "" : ", ", folder);
    std::fprintf(stderr, "hfreduce inspect: no records in %s\n", where.c_str());
    return 2;
  }
  const bool healthy = std::all_of(communicators.begin(), communicators.end(),
                                   [](const auto& c) { return c.verdict.healthy(); });
  return healthy ? 0 : 1;
}

}  // namespace hfr::tools
