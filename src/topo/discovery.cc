#include "topo/discovery.hpp"

#include <arpa/inet.h>
#include <hwloc.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "topo/placement.hpp"

namespace hfr {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, Destroy>;

int count(hwloc_topology_t topology, hwloc_obj_type_t type) {
  return std::max(0, hwloc_get_nbobjs_by_type(topology, type));
}

int count_inside(hwloc_topology_t topology, hwloc_obj_t object, hwloc_obj_type_t type) {
  return std::max(0, hwloc_get_nbobjs_inside_cpuset_by_type(topology, object->cpuset, type));
}

std::string info(hwloc_obj_t object, const char* key) {
  const char* value = object == nullptr ? nullptr : hwloc_obj_get_info_by_name(object, key);
  return value == nullptr ? "" : value;
}

template <typename Visit>
void for_each(hwloc_topology_t topology, hwloc_obj_type_t type, Visit&& visit) {
  hwloc_obj_t object = nullptr;
  while ((object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr) visit(object);
}

void find_sockets(hwloc_topology_t topology, Topology& result) {
  for_each(topology, HWLOC_OBJ_PACKAGE, [&](hwloc_obj_t socket) {
    result.sockets.push_back({static_cast<int>(socket->logical_index),
                              count_inside(topology, socket, HWLOC_OBJ_CORE),
                              count_inside(topology, socket, HWLOC_OBJ_PU)});
  });
  // Some virtual machines show none.
  if (result.sockets.empty()) result.sockets.push_back({0, result.num_cores, result.num_threads});
}

void find_numa_nodes(hwloc_topology_t topology, Topology& result) {
  for_each(topology, HWLOC_OBJ_NUMANODE, [&](hwloc_obj_t node) {
    hwloc_obj_t socket = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, node);
    NumaNode numa;
    numa.idx = static_cast<int>(node->os_index);
    numa.socket = socket == nullptr ? 0 : static_cast<int>(socket->logical_index);
    numa.bytes = node->attr->numanode.local_memory;
    numa.num_cores = count_inside(topology, node, HWLOC_OBJ_CORE);
    result.numa_nodes.push_back(numa);
  });
}

void find_caches(hwloc_topology_t topology, Topology& result) {
  std::map<std::pair<int, size_t>, CacheLevel> levels;
  for (hwloc_obj_type_t type :
       {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE}) {
    for_each(topology, type, [&](hwloc_obj_t cache) {
      const auto level = static_cast<int>(cache->attr->cache.depth);
      const size_t bytes = cache->attr->cache.size;
      CacheLevel& entry = levels[{level, bytes}];
      entry = {level, bytes, entry.count + 1,
               std::max(entry.cores_each, count_inside(topology, cache, HWLOC_OBJ_CORE))};
    });
  }
  for (const auto& [key, level] : levels) result.caches.push_back(level);
}

// By what names the operating system knows a device: verbs names before network interfaces.
std::vector<std::string> system_names(hwloc_obj_t pci) {
  std::vector<std::string> names;
  for (hwloc_obj_t child = pci->io_first_child; child != nullptr; child = child->next_sibling) {
    if (child->type != HWLOC_OBJ_OS_DEVICE || child->name == nullptr) continue;
    const bool verbs = child->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS;
    names.insert(verbs ? names.begin() : names.end(), child->name);
  }
  return names;
}

bool is_verbs(hwloc_obj_t pci) {
  for (hwloc_obj_t child = pci->io_first_child; child != nullptr; child = child->next_sibling) {
    if (child->type == HWLOC_OBJ_OS_DEVICE &&
        child->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS)
      return true;
  }
  return false;
}

void find_devices(hwloc_topology_t topology, Topology& result) {
  constexpr int kDisplay = 0x03;
  constexpr int kProcessingAccelerator = 0x12;
  constexpr int kNetwork = 0x02;
  for_each(topology, HWLOC_OBJ_PCI_DEVICE, [&](hwloc_obj_t pci) {
    const auto& attributes = pci->attr->pcidev;
    const int base_class = attributes.class_id >> 8;
    PciDevice device;
    device.system_names = system_names(pci);
    if (base_class == kDisplay || base_class == kProcessingAccelerator) {
      device.kind = PciDevice::Kind::kGpu;
    } else if (base_class == kNetwork || is_verbs(pci)) {
      device.kind = PciDevice::Kind::kNic;
    } else {
      return;
    }
    char bus_id[24];
    std::snprintf(bus_id, sizeof(bus_id), "%04x:%02x:%02x.%x",
                  static_cast<unsigned>(attributes.domain), attributes.bus, attributes.dev,
                  attributes.func);
    device.bus_id = bus_id;
    device.name = info(pci, "PCIVendor");
    std::string model = info(pci, "PCIDevice");
    if (!model.empty()) device.name += (device.name.empty() ? "" : " ") + model;
    device.link_gbytes_per_s = static_cast<double>(attributes.linkspeed);
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, pci);
    if (near != nullptr && near->nodeset != nullptr && hwloc_bitmap_weight(near->nodeset) == 1) {
      device.numa = hwloc_bitmap_first(near->nodeset);
    }
    result.devices.push_back(std::move(device));
  });
}

void find_interfaces(Topology& result) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0) continue;
    const int family = entry->ifa_addr->sa_family;
    char address[INET6_ADDRSTRLEN] = "";
    if (family == AF_INET) {
      inet_ntop(family, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, address,
                sizeof(address));
    } else if (family == AF_INET6) {
      inet_ntop(family, &reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr, address,
                sizeof(address));
    } else {
      continue;
    }
    const bool known =
        std::any_of(result.interfaces.begin(), result.interfaces.end(),
                    [&](const NetworkInterface& i) { return i.name == entry->ifa_name; });
    if (!known) result.interfaces.push_back({entry->ifa_name, address});
  }
  freeifaddrs(list);
}

std::string host_name() {
  char name[256] = "";
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

}  // namespace

Result<Topology> discover_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0)
    return Status(Code::kSystemError, "hwloc cannot be initialised");
  Handle topology(raw);
  // What it would ask drivers for is not needed, takes long, leaks, and may create a GPU context.
  for (const char* component : {"opencl", "cuda", "nvml", "rsmi", "levelzero", "gl"}) {
    hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
  }
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  // The machine, not only what is granted of it: the difference is worth seeing.
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (hwloc_topology_load(raw) != 0) {
    return Status(Code::kSystemError,
                  "hwloc cannot read this machine's topology; is /sys mounted?");
  }
  Topology result;
  result.host = host_name();
  result.processor = info(hwloc_get_obj_by_type(raw, HWLOC_OBJ_PACKAGE, 0), "CPUModel");
  if (result.processor.empty()) result.processor = info(hwloc_get_root_obj(raw), "CPUModel");
  result.num_cores = count(raw, HWLOC_OBJ_CORE);
  result.num_threads = count(raw, HWLOC_OBJ_PU);
  result.allowed_cpus = affinity_cpus();
  result.quota_cpus = quota_cpus();
  result.usable_cpus = usable_cpus();
  result.memory_bytes = machine_memory_bytes();
  find_sockets(raw, result);
  find_numa_nodes(raw, result);
  find_caches(raw, result);
  find_devices(raw, result);
  find_interfaces(result);
  return result;
}

}  // namespace hfr
