// What inspect prints: a table of ranks and a verdict for each communicator, or JSON.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/signature.hpp"
#include "base/text.hpp"
#include "tools/inspect.hpp"
#include "tools/print_format.hpp"

namespace hfr::tools {
namespace {

using nlohmann::json;

// With trouble, when nobody named a folder: old failures stay for days.
constexpr size_t kMostShown = 4;
// Of more ranks, those that do the same share a row.
constexpr size_t kMostRows = 32;

const char* state_text(const RankState& rank) {
  if (rank.record.end == record::EndState::kDestroyed) return "destroyed";
  switch (rank.process) {
    case ProcessState::kUnknown:
      return "unknown";
    case ProcessState::kRunning:
      return "running";
    case ProcessState::kStopped:
      return "stopped";
    case ProcessState::kDead:
      return "dead";
  }
  return "unknown";
}

bool is_open(const Record& record) { return record.called > record.completed; }

// The oldest that is open, or else the last one.
std::string operation_text(const Record& record) {
  if (record.called == 0) return "none yet";
  const uint64_t number = is_open(record) ? record.completed : record.called - 1;
  const auto signature = signature_of(record, number);
  return cat("#", number, signature ? cat(" ", signature_text(*signature)) : "",
             is_open(record) ? "" : ", completed");
}

std::string stage_text(const RankState& rank) {
  const Record& record = rank.record;
  if (record.wait) {
    const Wait& wait = record.wait->wait;
    return cat(wait.rank < 0 ? "" : cat("rank ", wait.rank, ": "), wait_text(wait));
  }
  if (record.failure) return "failed";
  return is_open(record) ? "at work" : "in no operation";
}

std::string since_text(const RankState& rank) {
  const auto ns = waited_ns(rank);
  if (!ns) return "";
  return format("%.3g s", static_cast<double>(*ns) / 1e9);
}

// Of many ranks, one for all that do the same, and how many more there are.
std::string table(const std::vector<RankState>& ranks) {
  std::vector<std::vector<std::string>> rows = {
      {"rank", "node", "host", "pid", "process", "operation", "waits for", "since"}};
  std::map<std::string, int> num_alike;
  auto kind = [](const std::vector<std::string>& row) { return cat(row[4], row[5], row[6]); };
  for (const RankState& rank : ranks) {
    const Record& record = rank.record;
    std::vector<std::string> row = {
        cat(record.owner.rank), cat(record.owner.node), record.host,      cat(record.process.pid),
        state_text(rank),       operation_text(record), stage_text(rank), since_text(rank)};
    if (num_alike[kind(row)]++ == 0 || ranks.size() <= kMostRows) rows.push_back(std::move(row));
  }
  for (auto& row : rows) {
    const int more = num_alike[kind(row)] - 1;
    if (ranks.size() > kMostRows && more > 0) row.back() += cat("  and ", more, " like it");
  }
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += cat(i == 0 ? "" : "  ", row[i]);
      line.append(widths[i] - row[i].size(), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string id_text(const InspectedCommunicator& communicator) {
  const uint64_t id = communicator.ranks.front().record.owner.communicator;
  return format("%016llx", static_cast<unsigned long long>(id));
}

std::string communicator_text(const InspectedCommunicator& communicator) {
  const RecordOwner& owner = communicator.ranks.front().record.owner;
  const std::vector<int> missing = missing_ranks(communicator.ranks);
  auto several = [](int count, const char* what) {
    return cat(count, " ", what, count == 1 ? "" : "s");
  };
  std::string text =
      cat("communicator ", id_text(communicator), ": ", several(owner.num_ranks, "rank"), " on ",
          several(owner.num_nodes, "node"), ", ",
          missing.empty() ? "records of all of them" : cat("no record of ", list_ranks(missing)),
          "\n", table(communicator.ranks), "verdict: ", communicator.verdict.sentence, "\n");
  if (!communicator.verdict.advice.empty())
    text += cat("what to do: ", communicator.verdict.advice, "\n");
  return text;
}

json rank_json(const RankState& rank) {
  const Record& record = rank.record;
  json waits_for = nullptr;
  json stage = nullptr;
  json since = nullptr;
  json failure = nullptr;
  if (record.wait) {
    if (record.wait->wait.rank >= 0) waits_for = record.wait->wait.rank;
    stage = wait_text(record.wait->wait);
    since = static_cast<double>(*waited_ns(rank)) / 1e9;
  }
  if (record.failure) failure = record.failure->status.message();
  return {{"rank", record.owner.rank},
          {"node", record.owner.node},
          {"host", record.host},
          {"pid", record.process.pid},
          {"process", state_text(rank)},
          {"called", record.called},
          {"completed", record.completed},
          {"operation", operation_text(record)},
          {"waits_for", waits_for},
          {"stage", stage},
          {"since_s", since},
          {"failure", failure},
          {"file", rank.file}};
}

}  // namespace

std::string inspect_text(const std::vector<InspectedCommunicator>& communicators,
                         const std::vector<UnreadableFile>& unreadable, bool show_all) {
  std::string text;
  size_t num_healthy = 0;
  size_t num_shown = 0;
  size_t num_older = 0;
  for (const InspectedCommunicator& communicator : communicators) {
    if (communicator.verdict.healthy() && !show_all) {
      ++num_healthy;
    } else if (num_shown == kMostShown && !show_all) {
      ++num_older;
    } else {
      text += cat(text.empty() ? "" : "\n", communicator_text(communicator));
      ++num_shown;
    }
  }
  if (num_older > 0)
    text += cat("\n", num_older, " older with trouble: name the folder to see all\n");
  if (num_healthy > 0) {
    text += cat(text.empty() ? "" : "\n", num_healthy,
                num_healthy == 1 ? " communicator has" : " communicators have", " no trouble\n");
  }
  for (const UnreadableFile& file : unreadable)
    text += cat("not read: ", file.file, ": ", file.why, "\n");
  return text;
}

std::string inspect_json(const std::vector<InspectedCommunicator>& communicators,
                         const std::vector<UnreadableFile>& unreadable) {
  json list = json::array();
  for (const InspectedCommunicator& communicator : communicators) {
    json ranks = json::array();
    for (const RankState& rank : communicator.ranks) ranks.push_back(rank_json(rank));
    json ends = json::array();
    for (const RankState& rank : communicator.ranks) {
      for (const RecordedEnd& end : rank.record.ends) {
        const uint64_t after_ns = end.at_ns - rank.record.ends.front().at_ns;
        ends.push_back({{"rank", end.rank}, {"after_s", static_cast<double>(after_ns) / 1e9}});
      }
    }
    const RecordOwner& owner = communicator.ranks.front().record.owner;
    const Verdict& verdict = communicator.verdict;
    list.push_back({{"communicator", id_text(communicator)},
                    {"num_ranks", owner.num_ranks},
                    {"num_nodes", owner.num_nodes},
                    {"missing", missing_ranks(communicator.ranks)},
                    {"ranks", ranks},
                    {"ends", ends},
                    {"verdict",
                     {{"kind", verdict.kind},
                      {"healthy", verdict.healthy()},
                      {"culprits", verdict.culprits},
                      {"sentence", verdict.sentence},
                      {"advice", verdict.advice}}}});
  }
  json not_read = json::array();
  for (const UnreadableFile& file : unreadable) {
    not_read.push_back({{"file", file.file}, {"why", file.why}});
  }
  const json all = {{"communicators", list}, {"unreadable", not_read}};
  // File names may be any bytes.
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace hfr::tools
