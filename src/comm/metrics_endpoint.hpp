// MetricsEndpoint: where a process's communicators can be asked for their metrics
// (docs/metrics.md). One for each setting and process, opened by the first communicator that asks
// for it and closed with the last.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/status.hpp"
#include "comm/comm_metrics.hpp"
#include "comm/page_server.hpp"

namespace hfr {

class MetricsEndpoint {
 public:
  using Source = std::function<CommMetrics()>;

  // `setting`: HFREDUCE_METRICS. `process_idx`: the process's number on its machine. The sentence
  // of a failure has what to try.
  static Result<std::shared_ptr<MetricsEndpoint>> join(const std::string& setting, int process_idx,
                                                       int rank);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  // Where it listens: "http://127.0.0.1:9400/metrics", "unix:/path".
  const std::string& address() const { return address_; }

  // Any thread. `source` is called on the server's thread until remove() has returned.
  uint64_t add(Source source);
  void remove(uint64_t comm);

 private:
  MetricsEndpoint() = default;
  Status open(const std::string& setting, int process_idx, int rank);
  std::string page();

  std::string address_;
  std::string socket_path_;  // of a socket in the file system, which goes with this
  std::mutex mutex_;
  uint64_t next_comm_ = 0;
  std::map<uint64_t, Source> sources_;
  std::unique_ptr<PageServer> server_;  // last: ends first
};

// A source of an endpoint for as long as it lives.
class MetricsEntry {
 public:
  MetricsEntry(std::shared_ptr<MetricsEndpoint> endpoint, MetricsEndpoint::Source source)
      : endpoint_(std::move(endpoint)), comm_(endpoint_->add(std::move(source))) {}
  ~MetricsEntry() { endpoint_->remove(comm_); }
  MetricsEntry(const MetricsEntry&) = delete;
  MetricsEntry& operator=(const MetricsEntry&) = delete;

 private:
  std::shared_ptr<MetricsEndpoint> endpoint_;
  uint64_t comm_;
};

}  // namespace hfr
