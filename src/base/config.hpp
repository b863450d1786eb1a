// Config: every setting of a communicator, read once from the environment and an optional file.
//
// One table (config_variables) holds each variable's name, default, allowed values and meaning;
// reading, checking and docs/configuration.md all come from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/net.hpp"
#include "base/status.hpp"

namespace hfr {

struct Config {
  uint64_t timeout_ms = 300'000;
  size_t chunk_bytes = 0;                // 0: chosen per communicator
  uint64_t window = 0;                   // 0: chosen per communicator
  std::string host_id;                   // empty: the machine's own
  std::string rendezvous;                // "host:port" or empty
  std::string secret;                    // for HFREDUCE_RENDEZVOUS
  std::string socket_ifname;             // empty: the first one up
  std::string device = "host";           // host, cuda: where this rank's buffers are
  bool cuda_memops = true;               // stream memory operations where the GPU has them
  std::optional<size_t> gdr_copy_bytes;  // largest message copied by GDRCopy; none: measured
  uint64_t add_threads = 0;              // of a CUDA rank; 0: chosen
  uint64_t copy_step = 2;                // chunks, before other processes on the GPU; 0: any
  std::string gpu_group = "auto";        // 0, auto, 2, 4, 8: GPUs that add among themselves first
  size_t gpu_group_from = 0;             // smallest message for which they do; 0: chosen
  uint64_t gpu_group_blocks = 16;        // most thread blocks of the adding kernel
  std::string isa = "auto";
  std::string forest = "auto";  // auto, tree, ring
  std::string bind = "auto";    // auto, none
  size_t heap_bytes = 0;        // hfr_mem_alloc's address space per rank; 0: the machine's memory
  size_t flat_bytes = 0;        // largest message of the flat path; 0: measured default
  std::string check = "off";    // off, crc: checksums of chunks on their way
  bool direct = true;           // read peers' memory in place where it can be reached
  std::string transport = "auto";  // auto, tcp, verbs, loopback
  std::string tcp_congestion;      // empty: the system's
  uint64_t tcp_connections = 0;    // per peer; 0: chosen
  std::string ib_hca;              // devices, or all but some; empty: all
  std::string ib_gid_index = "auto";
  std::string ib_mtu = "auto";  // bytes
  uint64_t ib_service_level = 0;
  uint64_t ib_traffic_class = 0;
  uint64_t ib_timeout = 18;  // of an acknowledgement: 4.096 us * 2^ib_timeout
  uint64_t ib_retry_count = 6;
  uint64_t ib_queue_pairs = 0;      // per peer; 0: one a rail
  uint64_t spin_us = 0;             // 0: chosen by how many ranks share the cores
  std::string huge_pages = "auto";  // auto, off
  LogLevel log_level = LogLevel::kWarn;
  std::string log;  // levels by subsystem, over log_level
  std::string log_file;
  std::string trace;                    // a path; empty: no trace
  std::string recorder_dir;             // off, a folder; empty: the first default one
  std::string recorder_signal = "off";  // off, USR1, USR2, HUP, QUIT
  std::string metrics;                  // where they can be asked for; empty: nowhere
};

// Value of a variable, or nothing. Tests pass their own.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

struct ConfigVariable {
  std::string name;     // "HFREDUCE_TIMEOUT_MS"
  std::string initial;  // "300000"
  std::string allowed;  // "a whole number from 1 to 86400000"
  std::string meaning;
  // Checks and stores; false when the text is not allowed.
  std::function<bool(const std::string& text, Config& config)> set;
};
const std::vector<ConfigVariable>& config_variables();

// Reads every variable; a file named by HFREDUCE_CONFIG_FILE (NAME=VALUE lines, # comments) comes
// first and the environment overrides it. Fails with the variable's name, its value and what is
// allowed. Unknown names in the file fail too; unknown HFREDUCE_* names in the environment are not
// looked for.
Result<Config> load_config(const Environment& environment);

// The lines of such a file; `name` is for sentences.
Status apply_config_lines(std::istream& in, const std::string& name, Config& config);

// HFREDUCE_LOG over HFREDUCE_LOG_LEVEL.
LogLevels log_levels(const Config& config);

// HFREDUCE_METRICS: a place in the file system, or an address.
struct MetricsAddress {
  std::string path;  // of a socket; empty: `tcp`
  HostPort tcp;      // port 0: any
};
// Nothing when it is neither.
std::optional<MetricsAddress> parse_metrics_address(const std::string& text);

// "64", "64K", "4M", "1G" (powers of 1024).
std::optional<uint64_t> parse_size(const std::string& text);

// The settings that must agree on all ranks, as "chunk_bytes=...;window=...": ranks compare it at
// set-up.
std::string shared_settings(const Config& config);

}  // namespace hfr
