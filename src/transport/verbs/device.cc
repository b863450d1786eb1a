#include "transport/verbs/device.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>

#include "base/text.hpp"
#include "transport/verbs/connection.hpp"
#include "transport/verbs/device_error.hpp"
#include "transport/verbs/device_event.hpp"

namespace hfr::verbs {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string port_folder(const VerbsRail& rail) {
  return cat("/sys/class/infiniband/", rail.device, "/ports/", rail.port);
}

// Prefix length of the interface's address that is `gid`; 0: it has none such.
uint8_t prefix_bits(const std::string& interface, const Gid& gid) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return 0;
  int bits = 0;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr || interface != entry->ifa_name)
      continue;
    if (entry->ifa_addr->sa_family == AF_INET && gid.is_ipv4()) {
      const auto& address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr;
      if (std::memcmp(&address, gid.bytes.data() + 12, 4) != 0) continue;
      const auto& mask = reinterpret_cast<const sockaddr_in*>(entry->ifa_netmask)->sin_addr;
      bits = 96 + std::popcount(mask.s_addr);
    } else if (entry->ifa_addr->sa_family == AF_INET6 && !gid.is_ipv4()) {
      const auto& address = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr;
      if (std::memcmp(&address, gid.bytes.data(), 16) != 0) continue;
      const auto& mask = reinterpret_cast<const sockaddr_in6*>(entry->ifa_netmask)->sin6_addr;
      bits = 0;
      for (uint8_t byte : mask.s6_addr) bits += std::popcount(byte);
    }
  }
  freeifaddrs(list);
  return static_cast<uint8_t>(bits);
}

// The entry of a port's GID table, from sysfs; false when it is empty.
bool read_gid(const VerbsRail& rail, bool infiniband, int index, Gid& gid) {
  const std::string folder = port_folder(rail);
  const std::string text = first_line(cat(folder, "/gids/", index));
  if (inet_pton(AF_INET6, text.c_str(), gid.bytes.data()) != 1) return false;
  if (std::all_of(gid.bytes.begin(), gid.bytes.end(), [](uint8_t b) { return b == 0; }))
    return false;
  gid.index = static_cast<uint8_t>(index);
  if (infiniband) {
    gid.kind = GidKind::kInfiniBand;
    gid.prefix_bits = 64;
    return true;
  }
  const std::string kind = first_line(cat(folder, "/gid_attrs/types/", index));
  if (kind.empty()) return false;
  gid.kind = kind.find("v2") != std::string::npos ? GidKind::kRoceV2 : GidKind::kRoceV1;
  gid.prefix_bits = prefix_bits(first_line(cat(folder, "/gid_attrs/ndevs/", index)), gid);
  return true;
}

constexpr int kGidsLookedAt = 64;
constexpr int kLargestMtu = IBV_MTU_4096;  // of the verbs interface; Omni-Path has larger ones

// By the encodings of the InfiniBand specification; 0: unknown.
double gbit_per_s(const ibv_port_attr& port) {
  double lane = 0;
  switch (port.active_speed) {
    case 1:
      lane = 2.5;
      break;
    case 2:
      lane = 5;
      break;
    case 4:
      lane = 10;
      break;
    case 8:
      lane = 10;
      break;
    case 16:
      lane = 14;
      break;
    case 32:
      lane = 25;
      break;
    case 64:
      lane = 50;
      break;
    case 128:
      lane = 100;
      break;
    default:
      break;
  }
  switch (port.active_width) {
    case 1:
      return lane;
    case 2:
      return 4 * lane;
    case 4:
      return 8 * lane;
    case 8:
      return 12 * lane;
    case 16:
      return 2 * lane;
    default:
      return 0;
  }
}

// The exported function fills what it knows: less than the header's structure.
int query_port(const Library& library, ibv_context* context, int port, ibv_port_attr& attributes) {
  std::memset(&attributes, 0, sizeof(attributes));
  return library.query_port(context, static_cast<uint8_t>(port),
                            reinterpret_cast<_compat_ibv_port_attr*>(&attributes));
}

struct DeviceList {
  explicit DeviceList(const Library& from) : library(from), devices(from.get_device_list(&count)) {}
  ~DeviceList() {
    if (devices != nullptr) library.free_device_list(devices);
  }
  const Library& library;
  int count = 0;
  ibv_device** devices;
};

}  // namespace

Result<std::unique_ptr<Rail>> Rail::open(const VerbsRail& info, int gid_index) {
  const Result<Library>& library = verbs_library();
  if (!library.ok()) return library.status();
  std::unique_ptr<Rail> rail(new Rail(*library, info));
  DeviceList list(*library);
  for (int i = 0; i < list.count; ++i) {
    if (info.device == library->get_device_name(list.devices[i]))
      rail->context_ = library->open_device(list.devices[i]);
  }
  if (rail->context_ == nullptr) return device_error("opening it", info, errno);
  rail->domain_ = library->alloc_pd(rail->context_);
  if (rail->domain_ == nullptr) return device_error("making a protection domain", info, errno);
  const int flags = fcntl(rail->context_->async_fd, F_GETFL);
  fcntl(rail->context_->async_fd, F_SETFL, flags | O_NONBLOCK);
  HFR_RETURN_IF_ERROR(rail->read_port(gid_index));
  return rail;
}

Rail::~Rail() {
  if (completions_ != nullptr) library_.destroy_cq(completions_);
  for (ibv_cq* completions : lost_completions_) library_.destroy_cq(completions);
  if (domain_ != nullptr) library_.dealloc_pd(domain_);
  if (context_ != nullptr) library_.close_device(context_);
}

Status Rail::read_port(int gid_index) {
  ibv_port_attr port;
  if (query_port(library_, context_, info_.port, port) != 0)
    return device_error("asking for its attributes", info_, errno);
  infiniband_ = port.link_layer == IBV_LINK_LAYER_INFINIBAND;
  max_message_bytes_ = port.max_msg_sz;
  std::memcpy(card_.device.data(), info_.device.c_str(),
              std::min(info_.device.size(), card_.device.size() - 1));
  card_.port = info_.port;
  card_.lid = port.lid;
  if (port.active_mtu < IBV_MTU_256) {
    return Status(Code::kSystemError,
                  cat(info_.text(), " shows no MTU (active_mtu ", int{port.active_mtu},
                      "): see ibv_devinfo; HFREDUCE_IB_HCA can leave the device out"));
  }
  card_.mtu = static_cast<uint16_t>(128u << std::min<int>(port.active_mtu, kLargestMtu));
  std::string seen;
  for (int i = 0; i < std::min(port.gid_tbl_len, kGidsLookedAt); ++i) {
    Gid gid;
    if (!read_gid(info_, infiniband_, i, gid)) continue;
    seen += cat(seen.empty() ? "" : ", ", gid.text());
    if (gid_index >= 0 && gid_index != i) continue;
    if (card_.num_gids < kMaxGids) card_.gids[card_.num_gids++] = gid;
  }
  if (card_.num_gids > 0) return Status();
  if (gid_index >= 0) {
    return Status(Code::kInvalidArgument,
                  cat("HFREDUCE_IB_GID_INDEX=", gid_index, ": ", info_.text(),
                      " has no such GID; it has ", seen.empty() ? "none" : seen));
  }
  return Status(Code::kSystemError,
                cat(info_.text(), " has no GID: give its network interface an address"));
}

size_t completion_entries(size_t num_connections, size_t most) {
  return std::min(num_connections * Connection::kMostCompletions, most);
}

Status Rail::make_completion_queue(size_t num_connections, size_t most, const Logger& logger) {
  ibv_device_attr device{};
  if (const int error = library_.query_device(context_, &device); error != 0)
    return device_error("asking for its limits", info_, error);
  const size_t entries =
      completion_entries(num_connections, std::min(static_cast<size_t>(device.max_cqe), most));
  const size_t held = entries / Connection::kMostCompletions;
  if (held < num_connections) {
    logger.log(LogLevel::kWarn, info_.text(), ": a completion queue holds ", entries,
               " entries at most, for ", held, " connections that break at once, and there are ",
               num_connections, ": a lower HFREDUCE_IB_QPS makes fewer");
  }
  completion_entries_ = entries;
  completions_ = create_completion_queue();
  if (completions_ != nullptr) return Status();
  return device_error(cat("making a completion queue of ", entries, " entries"), info_, errno);
}

ibv_cq* Rail::create_completion_queue() const {
  return library_.create_cq(context_, static_cast<int>(completion_entries_), nullptr, nullptr, 0);
}

Status Rail::look_at_port() {
  if (!lost_.empty()) return Status(Code::kSystemError, lost_);
  ibv_port_attr port;
  if (const int error = query_port(library_, context_, info_.port, port); error != 0)
    return device_error("asking for its attributes", info_, error);
  if (port.state != IBV_PORT_ACTIVE)
    return Status(Code::kSystemError, cat(info_.text(), " is down"));
  card_.lid = port.lid;
  return Status();
}

bool Rail::has_gid(const Gid& gid) const {
  Gid now;
  return read_gid(info_, infiniband_, gid.index, now) && now.bytes == gid.bytes &&
         now.kind == gid.kind;
}

Rail::News Rail::take_events(const Logger& logger) {
  News news;
  ibv_async_event event;
  while (library_.get_async_event(context_, &event) == 0) {
    const char* name = library_.event_type_str(event.event_type);
    const DeviceEvent what = meaning(event, info_.port);
    const ibv_qp* pair = event.element.qp;  // kPairBroken
    const bool in_use = event.element.cq == completions_;
    // Once it is taken nothing may be destroyed before it is acknowledged.
    library_.ack_async_event(&event);
    if (what != DeviceEvent::kNothing && what != DeviceEvent::kPairBroken) {
      const bool notice = what == DeviceEvent::kNotice;
      logger.log(notice ? LogLevel::kInfo : LogLevel::kWarn, info_.text(), ": ", name);
    }
    switch (what) {
      case DeviceEvent::kPairBroken:
        news.broke.emplace_back(pair, cat("the device says: ", name));
        break;
      case DeviceEvent::kCompletionsLost:
        // Of one that was given up already there is nothing new to say.
        if (in_use) news.all_broke = lose_completions(logger).all_broke;
        break;
      case DeviceEvent::kPortDown:
        news.all_broke = "its port went down";
        break;
      case DeviceEvent::kPortChanged:
        news.all_broke = "its port has another LID";
        break;
      case DeviceEvent::kDeviceLost:
        lost_ = cat(info_.text(), " failed (", name, "): see the kernel's log");
        news.all_broke = lost_;
        break;
      default:
        break;
    }
  }
  return news;
}

Rail::News Rail::lose_completions(const Logger& logger) {
  News news;
  if (!lost_.empty()) return news;
  news.all_broke = cat("the completion queue of ", info_.text(), " overflowed or failed");
  // Those whose queue pairs are gone by now.
  std::erase_if(lost_completions_, [&](ibv_cq* old) { return library_.destroy_cq(old) == 0; });
  lost_completions_.push_back(completions_);
  completions_ = create_completion_queue();
  if (completions_ == nullptr) {
    lost_ = device_error(cat("replacing a completion queue of ", completion_entries_,
                             " entries, which overflowed or failed"),
                         info_, errno)
                .message();
    completions_ = lost_completions_.back();
    lost_completions_.pop_back();
  }
  logger.log(LogLevel::kWarn, news.all_broke, lost_.empty() ? "" : ": ", lost_);
  return news;
}

}  // namespace hfr::verbs

namespace hfr {
namespace {

// The devices that the kernel knows, whether or not this process may use them.
std::string shown_devices() {
  std::error_code error;
  std::string names;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", error))
    names += cat(names.empty() ? "" : ", ", entry.path().filename().string());
  return names;
}

}  // namespace

Result<std::vector<VerbsRail>> find_verbs_rails(const std::string& hca, const Logger& logger) {
  using namespace verbs;
  // The library is not even loaded where it would find nothing.
  const std::string shown = shown_devices();
  if (shown.empty()) {
    return Status(Code::kUnsupported,
                  "no usable verbs device: the system shows none in /sys/class/infiniband");
  }
  const Result<Library>& library = verbs_library();
  if (!library.ok()) return library.status();
  DeviceList list(*library);
  if (list.count == 0) {
    return Status(Code::kUnsupported,
                  cat("no usable verbs device: the system has ", shown,
                      ", but their files in /dev/infiniband are not there (a container must be "
                      "given them), or libibverbs has no provider for them (ibverbs-providers)"));
  }
  std::vector<VerbsRail> rails;
  std::string passed_over;
  auto pass_over = [&](const std::string& what) {
    passed_over += cat(passed_over.empty() ? "" : ", ", what);
  };
  for (int i = 0; i < list.count; ++i) {
    VerbsRail rail;
    rail.device = library->get_device_name(list.devices[i]);
    ibv_context* context = library->open_device(list.devices[i]);
    if (context == nullptr) {
      pass_over(cat(rail.device, " cannot be opened"));
      continue;
    }
    const std::string folder = cat("/sys/class/infiniband/", rail.device, "/device/numa_node");
    if (const std::string numa = first_line(folder); !numa.empty())
      rail.numa = std::atoi(numa.c_str());
    ibv_port_attr port;
    for (rail.port = 1; query_port(*library, context, rail.port, port) == 0; ++rail.port) {
      auto allowed = hca_allows(hca, rail.device, rail.port);
      if (!allowed.ok()) {
        library->close_device(context);
        return allowed.status();
      }
      if (!*allowed) {
        pass_over(cat(rail.text(), " is not among HFREDUCE_IB_HCA=", hca));
        continue;
      }
      if (port.state != IBV_PORT_ACTIVE) {
        pass_over(cat(rail.text(), " is down"));
        logger.log(LogLevel::kWarn, "not used: ", rail.text(), " is down");
        continue;
      }
      rail.link_layer = port.link_layer == IBV_LINK_LAYER_INFINIBAND ? "InfiniBand" : "Ethernet";
      rail.link_gbit_per_s = gbit_per_s(port);
      rails.push_back(rail);
    }
    library->close_device(context);
  }
  if (!rails.empty()) return rails;
  return Status(Code::kUnsupported, cat("no usable verbs device: ", passed_over));
}

}  // namespace hfr
