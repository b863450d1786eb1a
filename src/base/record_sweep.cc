// Which records of the past stay in a folder.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <memory>

#include "base/record_file.hpp"
#include "base/record_reader.hpp"

namespace hfr {
namespace {

constexpr time_t kOldestSeconds = 7 * 24 * 3600;
constexpr size_t kMostFiles = 256;

struct Leftover {
  std::string name;
  time_t written = 0;
  bool of_interest = false;  // itself, or another of its communicator
};

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};

// Whether somebody may want to see it: a copy that was asked for, a failure, an end in an
// operation or in set-up.
bool had_trouble(const Record& record) {
  return record.copied_ns != 0 || record.failure.has_value() || record.called != record.completed ||
         (record.wait && is_of_set_up(record.wait->wait.stage));
}

}  // namespace

void sweep_records(const std::string& path) {
  const std::unique_ptr<DIR, CloseFolder> folder(opendir(path.c_str()));
  if (folder == nullptr) return;
  const int fd = dirfd(folder.get());
  const ProcessIdentity here = this_process();
  std::map<uint64_t, std::vector<Leftover>> ended;  // by communicator
  std::map<uint64_t, bool> goes_on;
  std::map<uint64_t, bool> trouble;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    struct stat info {};
    if (!name.ends_with(kRecordSuffix) || fstatat(fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(info.st_mode) || info.st_uid != geteuid()) {
      continue;
    }
    auto bytes = load_record(fd, name, true);
    if (!bytes.ok()) continue;
    const auto record = read_record(bytes->bytes, bytes->front_after);
    if (!record.ok()) continue;
    const uint64_t communicator = record->owner.communicator;
    trouble[communicator] |= had_trouble(*record);
    const ProcessState state = look_at(record->process, here);
    if (state == ProcessState::kDead || record->end == record::EndState::kDestroyed ||
        (state == ProcessState::kUnknown && time(nullptr) - info.st_mtime > kOldestSeconds)) {
      ended[communicator].push_back({name, info.st_mtime});
    } else {
      goes_on[communicator] = true;
    }
  }
  std::vector<Leftover> leftovers;
  for (auto& [communicator, files] : ended) {
    for (Leftover& file : files) {
      file.of_interest = trouble[communicator] || goes_on[communicator];
      leftovers.push_back(std::move(file));
    }
  }
  std::sort(leftovers.begin(), leftovers.end(),
            [](const Leftover& a, const Leftover& b) { return a.written > b.written; });
  for (size_t i = 0; i < leftovers.size(); ++i) {
    const Leftover& file = leftovers[i];
    const bool stays =
        file.of_interest && i < kMostFiles && time(nullptr) - file.written <= kOldestSeconds;
    if (!stays) unlinkat(fd, file.name.c_str(), 0);
  }
}

}  // namespace hfr
