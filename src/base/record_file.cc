#include "base/record_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>

#include "base/text.hpp"

namespace hfr {
namespace {

using record::File;
using record::kFileBytes;

// A default folder with less is left to others: containers' /dev/shm may have 64 KiB.
constexpr uint64_t kLeastFreeBytes = uint64_t{16} << 20;

std::string in_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

uint64_t now_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

template <size_t kBytes>
void copy_text(char (&to)[kBytes], const std::string& from) {
  const size_t size = std::min(from.size(), kBytes - 1);
  std::memcpy(to, from.data(), size);
  to[size] = '\0';
}

// A folder of the user's own, in a place where others may write, too.
Result<UniqueFd> open_own_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error(path, errno);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return system_error(path, errno);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return system_error(path, errno);
  if (info.st_uid != geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Status(Code::kSystemError, cat(path, " is not this user's alone"));
  }
  struct statvfs space {};
  if (fstatvfs(fd.get(), &space) != 0) return system_error(path, errno);
  if (uint64_t{space.f_bavail} * space.f_frsize < kLeastFreeBytes) {
    return Status(Code::kSystemError, cat(path, " has less than 16 MiB free"));
  }
  return fd;
}

Result<UniqueFd> open_named_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error(path, errno);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return system_error(path, errno);
  return fd;
}

Result<File*> map_record(int fd) {
  const int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) return system_error("mapping a record", errno);
  return new (memory) File;  // leaves the zeros that are there
}

bool write_all(int fd, const std::byte* bytes, size_t size, off_t offset) {
  while (size > 0) {
    const ssize_t written = pwrite(fd, bytes, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    size -= static_cast<size_t>(written);
    offset += written;
  }
  return true;
}

}  // namespace

std::vector<std::string> default_record_folders() {
  std::vector<std::string> folders;
  const std::string own = cat("hfreduce-", geteuid());
  if (const std::string runtime = in_environment("XDG_RUNTIME_DIR"); !runtime.empty())
    folders.push_back(runtime + "/hfreduce");
  folders.push_back("/dev/shm/" + own);
  const std::string temporary = in_environment("TMPDIR");
  folders.push_back((temporary.empty() ? "/tmp" : temporary) + "/" + own);
  return folders;
}

Result<RecordFile> RecordFile::create(const std::string& folder, const RecordOwner& owner) {
  if (!folder.empty()) {
    HFR_ASSIGN_OR_RETURN(UniqueFd fd, open_named_folder(folder));
    return create_in(std::move(fd), folder, owner);
  }
  for (const std::string& path : default_record_folders()) {
    auto fd = open_own_folder(path);
    if (!fd.ok()) continue;
    auto file = create_in(std::move(*fd), path, owner);
    if (file.ok()) return file;
  }
  RecordFile file;
  HFR_ASSIGN_OR_RETURN(file.record_, map_record(-1));
  file.identify(owner);
  return file;
}

Result<RecordFile> RecordFile::create_in(UniqueFd folder, std::string path,
                                         const RecordOwner& owner) {
  char id[17];
  std::snprintf(id, sizeof(id), "%016llx", static_cast<unsigned long long>(owner.communicator));
  RecordFile file;
  file.name_ = cat(id, "-", owner.rank, "-", getpid(), kRecordSuffix);
  const UniqueFd fd(openat(folder.get(), file.name_.c_str(),
                           O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error(cat("making ", path, "/", file.name_), errno);
  file.folder_fd_ = std::move(folder);
  file.folder_ = std::move(path);
  // Now, not when a page is first written: that would end the process.
  if (const int error = posix_fallocate(fd.get(), 0, kFileBytes); error != 0) {
    return system_error(cat("room for a record in ", file.folder_), error);
  }
  HFR_ASSIGN_OR_RETURN(file.record_, map_record(fd.get()));
  file.identify(owner);
  return file;
}

void RecordFile::identify(const RecordOwner& owner) {
  record::Identity& identity = record_->identity;
  const ProcessIdentity process = this_process();
  identity.version = record::kVersion;
  identity.file_bytes = kFileBytes;
  identity.communicator = owner.communicator;
  identity.rank = owner.rank;
  identity.num_ranks = owner.num_ranks;
  identity.node = owner.node;
  identity.num_nodes = owner.num_nodes;
  identity.local_rank = owner.local_rank;
  identity.num_local = owner.num_local;
  identity.pid = process.pid;
  identity.process_start = process.start;
  identity.pid_namespace = process.pid_namespace;
  copy_text(identity.boot_id, process.boot_id);
  char host[sizeof(identity.host)] = {};
  if (gethostname(host, sizeof(host) - 1) == 0) copy_text(identity.host, host);
  identity.created_ns = now_ns(CLOCK_MONOTONIC);
  identity.created_epoch_ns = now_ns(CLOCK_REALTIME);
  identity.magic.store(record::kMagic, std::memory_order_release);
}

RecordFile::RecordFile(RecordFile&& other) noexcept { *this = std::move(other); }

RecordFile& RecordFile::operator=(RecordFile&& other) noexcept {
  std::swap(folder_fd_, other.folder_fd_);
  std::swap(folder_, other.folder_);
  std::swap(name_, other.name_);
  std::swap(record_, other.record_);
  std::swap(kept_, other.kept_);
  return *this;
}

RecordFile::~RecordFile() {
  if (record_ != nullptr) munmap(record_, kFileBytes);
  if (!kept_ && folder_fd_.valid()) unlinkat(folder_fd_.get(), name_.c_str(), 0);
}

Status RecordFile::dump(const std::string& path) const {
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error(cat("making ", path), errno);
  if (!write_record(*record_, fd.get())) return system_error(cat("writing ", path), errno);
  return Status();
}

bool write_record(const File& record, int fd) {
  const uint64_t wait_seq = record.wait.seq.load(std::memory_order_acquire);
  // By words, as the record is being written; in pieces, as a signal's stack may be small.
  using Word [[gnu::may_alias]] = uint64_t;
  const auto* words = reinterpret_cast<const Word*>(&record);
  std::array<uint64_t, 128> piece;
  for (size_t first = 0; first < kFileBytes / sizeof(Word); first += piece.size()) {
    for (size_t i = 0; i < piece.size(); ++i)
      piece[i] = __atomic_load_n(&words[first + i], __ATOMIC_ACQUIRE);
    if (!write_all(fd, reinterpret_cast<const std::byte*>(piece.data()), sizeof(piece),
                   static_cast<off_t>(first * sizeof(Word)))) {
      return false;
    }
  }
  record::Dump dump{};
  dump.at_ns = now_ns(CLOCK_MONOTONIC);
  dump.at_epoch_ns = now_ns(CLOCK_REALTIME);
  dump.called = record.progress.called.load(std::memory_order_acquire);
  dump.num_spans = record.num_spans.value.load(std::memory_order_acquire);
  dump.process = static_cast<uint32_t>(ProcessState::kRunning);
  if (record.wait.seq.load(std::memory_order_acquire) != wait_seq) {
    const uint64_t torn = 1;
    if (!write_all(fd, reinterpret_cast<const std::byte*>(&torn), sizeof(torn),
                   offsetof(File, wait))) {
      return false;
    }
  }
  return write_all(fd, reinterpret_cast<const std::byte*>(&dump), sizeof(dump),
                   offsetof(File, dump));
}

}  // namespace hfr
