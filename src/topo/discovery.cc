#include "topo/discovery.hpp"

#include <hwloc.h>

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

std::string info(hwloc_obj_t object, const char* key) {
  const char* value = object == nullptr ? nullptr : hwloc_obj_get_info_by_name(object, key);
  return value == nullptr ? "" : value;
}

void find_numa_nodes(hwloc_topology_t topology, Topology& result) {
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    NumaNode numa;
    numa.idx = static_cast<int>(node->os_index);
    numa.bytes = node->attr->numanode.local_memory;
    hwloc_obj_t socket = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, node);
    numa.socket = socket == nullptr ? 0 : static_cast<int>(socket->logical_index);
    numa.num_cores =
        std::max(0, hwloc_get_nbobjs_inside_cpuset_by_type(topology, node->cpuset, HWLOC_OBJ_CORE));
    result.numa_nodes.push_back(numa);
  }
}

void find_caches(hwloc_topology_t topology, Topology& result) {
  std::map<int, CacheLevel> levels;
  for (hwloc_obj_type_t type : {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE}) {
    for (hwloc_obj_t cache = nullptr;
         (cache = hwloc_get_next_obj_by_type(topology, type, cache)) != nullptr;) {
      CacheLevel& level = levels[static_cast<int>(cache->attr->cache.depth)];
      level.level = static_cast<int>(cache->attr->cache.depth);
      level.bytes = cache->attr->cache.size;
      ++level.count;
    }
  }
  for (const auto& [depth, level] : levels) result.caches.push_back(level);
}

// The name by which the operating system knows a device: a verbs name before a network interface's.
std::string system_name(hwloc_obj_t pci) {
  std::string name;
  for (hwloc_obj_t child = pci->io_first_child; child != nullptr; child = child->next_sibling) {
    if (child->type != HWLOC_OBJ_OS_DEVICE || child->name == nullptr) continue;
    if (name.empty() || child->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS) name = child->name;
  }
  return name;
}

void find_devices(hwloc_topology_t topology, Topology& result) {
  constexpr int kDisplay = 0x03;
  constexpr int kProcessingAccelerator = 0x12;
  constexpr int kNetwork = 0x02;
  for (hwloc_obj_t pci = nullptr; (pci = hwloc_get_next_pcidev(topology, pci)) != nullptr;) {
    const auto& attributes = pci->attr->pcidev;
    const int base_class = attributes.class_id >> 8;
    PciDevice device;
    if (base_class == kDisplay || base_class == kProcessingAccelerator) {
      device.kind = PciDevice::Kind::kGpu;
    } else if (base_class == kNetwork) {
      device.kind = PciDevice::Kind::kNic;
    } else {
      continue;
    }
    char bus_id[24];
    std::snprintf(bus_id, sizeof(bus_id), "%04x:%02x:%02x.%x", attributes.domain, attributes.bus,
                  attributes.dev, attributes.func);
    device.bus_id = bus_id;
    device.name = info(pci, "PCIVendor");
    std::string model = info(pci, "PCIDevice");
    if (!model.empty()) device.name += (device.name.empty() ? "" : " ") + model;
    device.system_name = system_name(pci);
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology, pci);
    if (near != nullptr && near->nodeset != nullptr && hwloc_bitmap_weight(near->nodeset) == 1) {
      device.numa = hwloc_bitmap_first(near->nodeset);
    }
    result.devices.push_back(device);
  }
}

}  // namespace

Result<Topology> discover_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0)
    return Status(Code::kSystemError, "hwloc cannot be initialised");
  Handle topology(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  if (hwloc_topology_load(raw) != 0) {
    return Status(Code::kSystemError,
                  "hwloc cannot read this machine's topology; is /sys mounted?");
  }
  Topology result;
  result.processor = info(hwloc_get_obj_by_type(raw, HWLOC_OBJ_PACKAGE, 0), "CPUModel");
  if (result.processor.empty()) result.processor = info(hwloc_get_root_obj(raw), "CPUModel");
  result.num_sockets = std::max(1, count(raw, HWLOC_OBJ_PACKAGE));
  result.num_cores = count(raw, HWLOC_OBJ_CORE);
  result.num_threads = count(raw, HWLOC_OBJ_PU);
  result.usable_cpus = usable_cpus();
  result.memory_bytes = machine_memory_bytes();
  find_numa_nodes(raw, result);
  find_caches(raw, result);
  find_devices(raw, result);
  return result;
}

}  // namespace hfr
