#include "comm/metrics_endpoint.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/config.hpp"
#include "base/text.hpp"

namespace hfr {
namespace {

constexpr int kBacklog = 16;

// The process's endpoints, by setting.
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<MetricsEndpoint>> endpoints;
};
Registry& registry() {
  static Registry registry;
  return registry;
}

Result<UniqueFd> listen_in_file_system(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Status(Code::kInvalidArgument,
                  cat("the path of a socket has ", sizeof(address.sun_path) - 1,
                      " characters at most; choose a shorter one"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("socket", errno);
  if (bind(fd.get(), where, sizeof(address)) != 0) {
    if (errno != EADDRINUSE) return system_error(cat("cannot listen on ", path), errno);
    // Left behind by a process that was killed? Then nobody answers there.
    UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (connect(probe.get(), where, sizeof(address)) == 0 || errno != ECONNREFUSED) {
      return Status(Code::kSystemError,
                    cat("cannot listen on ", path,
                        ": there is one already; put %r or %p into the path, so that each process "
                        "has its own"));
    }
    unlink(path.c_str());
    if (bind(fd.get(), where, sizeof(address)) != 0)
      return system_error(cat("cannot listen on ", path), errno);
  }
  if (listen(fd.get(), kBacklog) != 0) return system_error(cat("listen on ", path), errno);
  return fd;
}

}  // namespace

Result<std::shared_ptr<MetricsEndpoint>> MetricsEndpoint::join(const std::string& setting,
                                                               int process_idx, int rank) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (auto there = all.endpoints[setting].lock()) return there;
  std::shared_ptr<MetricsEndpoint> made(new MetricsEndpoint);
  Status status = made->open(setting, process_idx, rank);
  if (!status.ok()) return status;
  all.endpoints[setting] = made;
  return made;
}

Status MetricsEndpoint::open(const std::string& setting, int process_idx, int rank) {
  MetricsAddress address = *parse_metrics_address(setting);  // Config has checked it
  UniqueFd listener;
  if (!address.path.empty()) {
    const std::string path = expand_path(address.path, rank);
    HFR_ASSIGN_OR_RETURN(listener, listen_in_file_system(path));
    socket_path_ = path;
    address_ = cat("unix:", path);
  } else {
    if (address.tcp.port != 0) {
      const int port = address.tcp.port + process_idx;
      if (port > 65535) {
        return Status(Code::kInvalidArgument,
                      cat("port ", address.tcp.port, " and the process's number ", process_idx,
                          " are past 65535; choose a lower one"));
      }
      address.tcp.port = static_cast<uint16_t>(port);
    }
    auto listening = listen_tcp(address.tcp, kBacklog);
    if (!listening.ok()) {
      return Status(
          listening.status().code(),
          cat(listening.status().message(), "; choose another port, or 0 for any that is free"));
    }
    listener = std::move(*listening);
    HFR_ASSIGN_OR_RETURN(HostPort bound, local_address(listener.get()));
    address_ = cat("http://", text(bound), "/metrics");
  }
  HFR_ASSIGN_OR_RETURN(server_, PageServer::start(std::move(listener), [this] { return page(); }));
  return Status();
}

MetricsEndpoint::~MetricsEndpoint() {
  server_.reset();
  if (!socket_path_.empty()) unlink(socket_path_.c_str());
}

uint64_t MetricsEndpoint::add(Source source) {
  const std::lock_guard lock(mutex_);
  sources_.emplace(next_comm_, std::move(source));
  return next_comm_++;
}

void MetricsEndpoint::remove(uint64_t comm) {
  const std::lock_guard lock(mutex_);
  sources_.erase(comm);
}

std::string MetricsEndpoint::page() {
  std::vector<CommMetrics> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [comm, source] : sources_) {
      all.push_back(source());
      all.back().comm = comm;
    }
  }
  return prometheus_text(all);
}

}  // namespace hfr
