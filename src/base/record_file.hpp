// RecordFile: where a record lies (record_layout.hpp): in which folder, made so that no other user
// can get between, mapped, and taken away again unless it is worth keeping.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/net.hpp"
#include "base/process.hpp"
#include "base/record_layout.hpp"
#include "base/status.hpp"

namespace hfr {

// Whose record it is.
struct RecordOwner {
  uint64_t communicator = 0;
  int rank = 0;
  int num_ranks = 1;
  int node = 0;
  int num_nodes = 1;
  int local_rank = 0;
  int num_local = 1;
};

constexpr const char* kRecordSuffix = ".record";

// Where records are by default, best first; they need not exist.
std::vector<std::string> default_record_folders();

class RecordFile {
 public:
  // In `folder`, made where it is missing; an error when that cannot be. Empty: in the first
  // default folder that can be used, or else in this process' memory alone.
  static Result<RecordFile> create(const std::string& folder, const RecordOwner& owner);

  RecordFile() = default;
  RecordFile(RecordFile&& other) noexcept;
  RecordFile& operator=(RecordFile&& other) noexcept;
  // Removes the file unless keep() was called.
  ~RecordFile();

  record::File& record() const { return *record_; }
  // Empty when it is in memory alone.
  const std::string& folder() const { return folder_; }
  const std::string& name() const { return name_; }
  int folder_fd() const { return folder_fd_.get(); }
  void keep() { kept_ = true; }

  // A copy at `path`, made anew, with what `Dump` says of it.
  Status dump(const std::string& path) const;

 private:
  static Result<RecordFile> create_in(UniqueFd folder, std::string path, const RecordOwner& owner);
  void identify(const RecordOwner& owner);

  UniqueFd folder_fd_;
  std::string folder_;
  std::string name_;
  record::File* record_ = nullptr;
  bool kept_ = false;
};

// Writes a copy of the record, as its process sees it. Async-signal-safe.
bool write_record(const record::File& record, int fd);

// Removes from `folder` what dead processes left that is of no interest (docs/diagnosis.md). Best
// effort.
void sweep_records(const std::string& folder);

}  // namespace hfr
