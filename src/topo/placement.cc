#include "topo/placement.hpp"

#include <hwloc.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <type_traits>
#include <vector>

namespace hfr {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The directory of this process' cgroup (v2), and those above it: a limit anywhere counts.
std::vector<std::string> cgroup_directories() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  std::string path;
  while (std::getline(file, line)) {
    if (line.rfind("0::", 0) == 0) path = line.substr(3);
  }
  std::vector<std::string> directories;
  while (!path.empty()) {
    directories.push_back("/sys/fs/cgroup" + path);
    if (path == "/") break;
    size_t slash = path.rfind('/');
    path = slash == 0 ? "/" : path.substr(0, slash);
  }
  return directories;
}

struct FreeBitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, FreeBitmap>;

constexpr size_t kMaxCpus = 8192;

// Of the calling thread; every CPU that is there when the system does not say.
Bitmap affinity() {
  Bitmap cpus(hwloc_bitmap_alloc());
  // As many words as the kernel may want to fill: a fixed cpu_set_t fails on large machines.
  std::array<unsigned long, kMaxCpus / (8 * sizeof(unsigned long))> words{};
  if (sched_getaffinity(0, sizeof(words), reinterpret_cast<cpu_set_t*>(words.data())) == 0) {
    hwloc_bitmap_from_ulongs(cpus.get(), static_cast<unsigned>(words.size()), words.data());
  } else {
    hwloc_bitmap_set_range(cpus.get(), 0, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1);
  }
  return cpus;
}

}  // namespace

int parse_cpu_max(const std::string& text) {
  std::istringstream in(text);
  int64_t quota = 0;
  int64_t period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return static_cast<int>((quota + period - 1) / period);
}

int quota_cpus() {
  int fewest = 0;
  auto take = [&](int cpus) {
    if (cpus > 0 && (fewest == 0 || cpus < fewest)) fewest = cpus;
  };
  for (const std::string& directory : cgroup_directories())
    take(parse_cpu_max(read_file(directory + "/cpu.max")));
  std::string quota = read_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::string period = read_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (!quota.empty() && quota[0] != '-') take(parse_cpu_max(quota + " " + period));
  return fewest;
}

int affinity_cpus() { return std::max(1, hwloc_bitmap_weight(affinity().get())); }

std::string affinity_list() {
  Bitmap cpus = affinity();
  std::string list(kMaxCpus * sizeof("9999,"), '\0');
  hwloc_bitmap_list_snprintf(list.data(), list.size(), cpus.get());
  list.resize(std::strlen(list.c_str()));
  return list;
}

bool have_cpu_each(const std::vector<std::string>& lists, size_t mine, int quota) {
  auto parse = [](const std::string& list) {
    Bitmap cpus(hwloc_bitmap_alloc());
    hwloc_bitmap_list_sscanf(cpus.get(), list.c_str());
    return cpus;
  };
  const Bitmap my_cpus = parse(lists[mine]);
  Bitmap together(hwloc_bitmap_alloc());
  int num_ranks = 0;
  for (const std::string& list : lists) {
    const Bitmap cpus = parse(list);
    if (hwloc_bitmap_intersects(cpus.get(), my_cpus.get()) == 0) continue;
    hwloc_bitmap_or(together.get(), together.get(), cpus.get());
    ++num_ranks;
  }
  if (quota > 0 && static_cast<int>(lists.size()) > quota) return false;
  return num_ranks <= hwloc_bitmap_weight(together.get());
}

int usable_cpus() {
  const int quota = quota_cpus();
  return quota > 0 ? std::min(affinity_cpus(), quota) : affinity_cpus();
}

size_t machine_memory_bytes() {
  auto bytes =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const std::string& directory : cgroup_directories()) {
    size_t limit = 0;
    if (std::istringstream(read_file(directory + "/memory.max")) >> limit && limit > 0) {
      bytes = std::min(bytes, limit);
    }
  }
  size_t limit = 0;
  if (std::istringstream(read_file("/sys/fs/cgroup/memory/memory.limit_in_bytes")) >> limit &&
      limit > 0) {
    bytes = std::min(bytes, limit);
  }
  return bytes;
}

size_t last_level_cache_bytes() {
  size_t largest = 0;
  for (int level = 0; level < 8; ++level) {
    const std::string size =
        read_file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");
    size_t kibibytes = 0;
    char unit = 0;
    if (std::istringstream(size) >> kibibytes >> unit && unit == 'K') {
      largest = std::max(largest, kibibytes << 10);
    }
  }
  return largest;
}

std::string machine_id() {
  std::string boot = read_file("/proc/sys/kernel/random/boot_id");
  struct stat info {};
  uint64_t network = stat("/proc/self/ns/net", &info) == 0 ? info.st_ino : 0;
  // FNV-1a: an identity, not a secret.
  uint64_t hash = 1469598103934665603ull;
  auto mix = [&](unsigned char byte) { hash = (hash ^ byte) * 1099511628211ull; };
  for (char c : boot) mix(static_cast<unsigned char>(c));
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(network >> (8 * i)));
  std::ostringstream text;
  text << std::hex << hash;
  return text.str();
}

int count_list(const std::string& text) {
  std::istringstream in(text);
  int count = 0;
  for (int first = 0; in >> first; in.ignore()) {
    int last = first;
    if (in.peek() == '-') {
      in.ignore();
      if (!(in >> last)) return 0;
    }
    if (first < 0 || last < first) return 0;
    count += last - first + 1;
    if (in.peek() != ',') break;
  }
  return count;
}

int num_numa_nodes() {
  return std::max(1, count_list(read_file("/sys/devices/system/node/has_memory")));
}

// A kernel that refuses leaves first-touch placement, which is slower but right.
void interleave_memory(void* memory, size_t bytes) {
  if (num_numa_nodes() == 1) return;
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return;
  if (hwloc_topology_load(topology) == 0) {
    hwloc_set_area_membind(topology, memory, bytes, hwloc_topology_get_topology_nodeset(topology),
                           HWLOC_MEMBIND_INTERLEAVE, HWLOC_MEMBIND_BYNODESET);
  }
  hwloc_topology_destroy(topology);
}

}  // namespace hfr
