// This process: what it holds, and limits on what it may.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace hfr_tests {

struct Descriptor {
  int fd;
  std::string target;
};
inline std::vector<Descriptor> open_descriptors() {
  std::vector<Descriptor> found;
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == dirfd(dir)) continue;
    char target[256] = "";
    [[maybe_unused]] const ssize_t got =
        readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
    found.push_back({fd, target});
  }
  closedir(dir);
  return found;
}

inline int count_threads() {
  int count = 0;
  DIR* dir = opendir("/proc/self/task");
  if (dir == nullptr) return 0;
  while (const dirent* entry = readdir(dir)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(dir);
  return count;
}

inline bool maps_shared_memory() {
  FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  char line[512];
  bool found = false;
  while (std::fgets(line, sizeof(line), maps) != nullptr)
    found = found || std::strstr(line, "memfd:hfreduce") != nullptr;
  std::fclose(maps);
  return found;
}

inline uint64_t address_space_bytes() {
  char text[64] = "";
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t got = read(fd, text, sizeof(text) - 1);
  close(fd);
  return std::strtoull(text, nullptr, 10) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// RESOURCE:ROOM:STEPS: from so many steps on ROOM more of it, descriptors or bytes, than are in
// use.
class Limit {
 public:
  // False: the text is none. Empty: no limit.
  bool read(const std::string& text) {
    if (text.empty()) return true;
    char resource[16] = "";
    unsigned long long room = 0, steps = 0;
    if (std::sscanf(text.c_str(), "%15[a-z]:%llu:%llu", resource, &room, &steps) != 3) return false;
    resource_ = std::strcmp(resource, "as") == 0 ? RLIMIT_AS : RLIMIT_NOFILE;
    room_ = room;
    steps_ = steps;
    pending_ = true;
    return true;
  }

  void lower_when_due(uint64_t steps) {
    if (!pending_ || steps < steps_) return;
    pending_ = false;
    getrlimit(resource_, &before_);
    rlimit lowered = before_;
    lowered.rlim_cur =
        resource_ == RLIMIT_AS ? address_space_bytes() + room_ : descriptors_with_room();
    lowered_ = was_lowered_ = setrlimit(resource_, &lowered) == 0;
  }
  void restore() {
    if (lowered_) setrlimit(resource_, &before_);
    lowered_ = false;
  }
  bool was_lowered() const { return was_lowered_; }

 private:
  // The limit is on the number, and new descriptors take the lowest that are free.
  rlim_t descriptors_with_room() const {
    std::set<int> open;
    for (const Descriptor& descriptor : open_descriptors()) open.insert(descriptor.fd);
    int limit = 0;
    for (uint64_t free = 0; free < room_ || open.count(limit) > 0; ++limit)
      free += open.count(limit) == 0 ? 1 : 0;
    return static_cast<rlim_t>(limit);
  }

  __rlimit_resource_t resource_ = RLIMIT_NOFILE;
  uint64_t room_ = 0;
  uint64_t steps_ = 0;
  bool pending_ = false;
  bool lowered_ = false;
  bool was_lowered_ = false;
  rlimit before_{};
};

}  // namespace hfr_tests
