#include "comm/set_up_data.hpp"

#include <sys/un.h>

#include <sstream>

#include "base/pack.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

// A larger number would make a bitmap of CPUs take more memory than the machine has.
constexpr int kMostCpus = 1 << 16;
// An abstract local address begins with a zero byte.
constexpr size_t kLongestDoor = sizeof(sockaddr_un::sun_path) - 1;

Status unreadable(int rank) {
  return Status(Code::kInternalError, cat("rank ", rank, " sent set-up data that cannot be read"));
}

// "", "3", "0-3,8"
bool is_cpu_list(const std::string& text) {
  std::istringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    const size_t dash = range.find('-');
    const auto first = parse_whole<int>(range.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_whole<int>(range.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kMostCpus) return false;
  }
  return true;
}

}  // namespace

std::vector<std::byte> encode(const RankInfo& info) {
  return pack({info.node_name, info.process, info.machine, info.door, cat(info.memory.pid),
               cat(info.memory.probe), cat(info.memory.target), info.cpus, info.device,
               cat(info.quota), info.no_rails, info.meeting_point.host,
               cat(info.meeting_point.port)});
}

Result<RankInfo> decode_rank_info(std::span<const std::byte> bytes, int rank) {
  const auto fields = unpack(bytes, 13);
  if (!fields) return unreadable(rank);
  RankInfo info;
  info.node_name = (*fields)[0];
  info.process = (*fields)[1];
  info.machine = (*fields)[2];
  info.door = (*fields)[3];
  const auto pid = parse_whole<pid_t>((*fields)[4]);
  const auto probe = parse_whole<uint64_t>((*fields)[5]);
  const auto target = parse_whole<uint64_t>((*fields)[6]);
  info.cpus = (*fields)[7];
  info.device = (*fields)[8];
  const auto quota = parse_whole<int>((*fields)[9]);
  info.no_rails = (*fields)[10];
  info.meeting_point.host = (*fields)[11];
  const auto port = parse_whole<uint16_t>((*fields)[12]);
  const bool sound = pid && probe && target && quota && port &&
                     info.process.find('@') != std::string::npos &&
                     info.door.size() <= kLongestDoor && is_cpu_list(info.cpus) &&
                     (info.device == "host" || info.device == "cuda");
  if (!sound) return unreadable(rank);
  info.memory = {*pid, *probe, *target};
  info.quota = *quota;
  info.meeting_point.port = *port;
  return info;
}

std::vector<std::byte> encode(const Findings& findings) {
  const GroupFinding& group = findings.group;
  std::string reaches;
  for (const std::string& gpu : group.gpu.reaches) reaches += gpu + ' ';
  return pack({findings.reaches_peers ? "1" : "0", group.has_kernels ? "1" : "0", group.gpu.gpu,
               reaches, cat(findings.mates_key)});
}

Result<Findings> decode_findings(std::span<const std::byte> bytes, int rank) {
  const auto fields = unpack(bytes, 5);
  if (!fields) return unreadable(rank);
  const auto mates_key = parse_whole<uint64_t>((*fields)[4]);
  if (!mates_key) return unreadable(rank);
  Findings findings{(*fields)[0] == "1", {{(*fields)[2], {}}, (*fields)[1] == "1"}, *mates_key};
  std::istringstream reaches((*fields)[3]);
  for (std::string gpu; reaches >> gpu;) findings.group.gpu.reaches.push_back(gpu);
  return findings;
}

}  // namespace hfr
