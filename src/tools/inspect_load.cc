#include "tools/inspect_load.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

namespace fs = std::filesystem;

template <typename Value>
void put(std::vector<std::byte>& bytes, size_t offset, Value value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

// A copy that says itself what was seen: elsewhere its process cannot be looked at.
std::string save(RecordBytes loaded, const RankState& rank, const std::string& path) {
  std::vector<std::byte>& bytes = loaded.bytes;
  if (rank.record.copied_ns == 0) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t called = 0;
    uint64_t num_spans = 0;
    std::memcpy(&called, loaded.front_after.data() + offsetof(record::File, progress.called),
                sizeof(called));
    std::memcpy(&num_spans, loaded.front_after.data() + offsetof(record::File, num_spans.value),
                sizeof(num_spans));
    put(bytes, offsetof(record::File, dump.at_ns), monotonic_ns());
    put(bytes, offsetof(record::File, dump.at_epoch_ns),
        static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec));
    put(bytes, offsetof(record::File, dump.called), called);
    put(bytes, offsetof(record::File, dump.num_spans), num_spans);
    put(bytes, offsetof(record::File, dump.process), static_cast<uint32_t>(rank.process));
    if (!rank.record.wait) put(bytes, offsetof(record::File, wait.seq), uint64_t{1});
  }
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return std::strerror(errno);
  const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
  return written == static_cast<ssize_t>(bytes.size()) ? "" : "it could not be written";
}

// One that is not seen where it was made says itself when it was made, and what the process did.
RankState see(Record record, const ProcessIdentity& here, const std::string& file) {
  RankState rank;
  rank.file = file;
  if (record.copied_ns != 0) {
    rank.process = record.state_when_copied;
    rank.seen_ns = record.copied_ns;
  } else {
    rank.process = look_at(record.process, here);
    if (record.process.boot_id == here.boot_id && !here.boot_id.empty())
      rank.seen_ns = monotonic_ns();
  }
  rank.record = std::move(record);
  return rank;
}

void load_file(const std::string& file, const ProcessIdentity& here, const std::string& save_folder,
               LoadedRecords& loaded) {
  auto fail = [&](const std::string& why) { loaded.unreadable.push_back({file, why}); };
  auto bytes = load_record(AT_FDCWD, file);
  if (!bytes.ok()) return fail(bytes.status().message());
  auto record = read_record(bytes->bytes, bytes->front_after);
  if (!record.ok()) return fail(record.status().message());
  RankState rank = see(std::move(*record), here, file);
  if (!save_folder.empty()) {
    const std::string to = (fs::path(save_folder) / fs::path(file).filename()).string();
    const std::string why = save(std::move(*bytes), rank, to);
    if (!why.empty()) fail(cat("saving it as ", to, ": ", why));
  }
  loaded.ranks.push_back(std::move(rank));
}

// Files that cannot be records by their name are passed over.
std::vector<std::string> files_in(const std::string& folder, std::string& why) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() == kRecordSuffix) files.push_back(entry->path().string());
  }
  if (error) why = error.message();
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

LoadedRecords load_records(const std::vector<std::string>& paths, const std::string& save_folder) {
  LoadedRecords loaded;
  const ProcessIdentity here = this_process();
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      load_file(path, here, save_folder, loaded);
      continue;
    }
    std::string why;
    for (const std::string& file : files_in(path, why)) load_file(file, here, save_folder, loaded);
    if (!why.empty()) loaded.unreadable.push_back({path, why});
  }
  return loaded;
}

}  // namespace hfr::tools
