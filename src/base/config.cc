#include "base/config.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace hfr {
namespace {

constexpr const char* kPath = "a path; %r is the rank, %h the machine's name, %p the process's id";

ConfigVariable number(std::string name, std::string initial, uint64_t low, uint64_t high,
                      uint64_t Config::*field, std::string meaning) {
  auto set = [=](const std::string& text, Config& config) {
    auto value = parse_whole<uint64_t>(text);
    if (!value || *value < low || *value > high) return false;
    config.*field = *value;
    return true;
  };
  return {std::move(name), std::move(initial), cat("a whole number from ", low, " to ", high),
          std::move(meaning), set};
}

ConfigVariable size(std::string name, std::string initial, uint64_t low, uint64_t high,
                    uint64_t multiple, size_t Config::*field, std::string meaning) {
  auto set = [=](const std::string& text, Config& config) {
    auto value = parse_size(text);
    if (!value || *value < low || *value > high || *value % multiple != 0) return false;
    config.*field = *value;
    return true;
  };
  std::string allowed =
      cat("bytes from ", low, " to ", high, ", with K, M or G for powers of 1024");
  if (multiple > 1) allowed += cat(", a multiple of ", multiple);
  return {std::move(name), std::move(initial), std::move(allowed), std::move(meaning), set};
}

ConfigVariable choice(std::string name, std::string initial, std::vector<std::string> values,
                      std::string Config::*field, std::string meaning) {
  std::string allowed = "one of";
  for (const auto& value : values) allowed += cat(" ", value);
  auto set = [=](const std::string& text, Config& config) {
    if (std::find(values.begin(), values.end(), text) == values.end()) return false;
    config.*field = text;
    return true;
  };
  return {std::move(name), std::move(initial), std::move(allowed), std::move(meaning), set};
}

ConfigVariable words(std::string name, std::string allowed, size_t longest,
                     std::string Config::*field, std::string meaning) {
  auto set = [=](const std::string& text, Config& config) {
    if (text.empty() || text.size() > longest) return false;
    config.*field = text;
    return true;
  };
  return {std::move(name), "", std::move(allowed), std::move(meaning), set};
}

ConfigVariable on_off(std::string name, bool initial, bool Config::*field, std::string meaning) {
  auto set = [=](const std::string& text, Config& config) {
    if (text != "0" && text != "1") return false;
    config.*field = text == "1";
    return true;
  };
  return {std::move(name), initial ? "1" : "0", "0 or 1", std::move(meaning), set};
}

ConfigVariable gid_index() {
  auto set = [](const std::string& text, Config& config) {
    const auto value = parse_whole<uint64_t>(text);
    if (text != "auto" && (!value || *value > 63)) return false;
    config.ib_gid_index = text;
    return true;
  };
  return {"HFREDUCE_IB_GID_INDEX", "auto", "auto or a whole number from 0 to 63",
          "The GID that every port uses; auto: chosen by which can reach each other.", set};
}

ConfigVariable gdr_copy_bytes() {
  auto set = [](const std::string& text, Config& config) {
    const auto value = parse_size(text);
    if (text != "auto" && (!value || *value > (uint64_t{1} << 30))) return false;
    config.gdr_copy_bytes = text == "auto" ? std::nullopt : value;
    return true;
  };
  return {"HFREDUCE_GDRCOPY_BYTES", "auto",
          "auto or bytes from 0 to 1073741824, with K, M or G for powers of 1024",
          "Largest small message of a GPU that the CPU copies through GDRCopy, which must be there "
          "then; auto: where it is there, up to where it was faster in a trial; 0: none.",
          set};
}

ConfigVariable recorder_dir() {
  auto set = [](const std::string& text, Config& config) {
    if (text.empty() || text.size() > 4000) return false;
    config.recorder_dir = text;
    return true;
  };
  return {"HFREDUCE_RECORDER_DIR", "chosen", "off or the path of a folder",
          "Folder of the ranks' records, for hfreduce inspect.", set};
}

ConfigVariable log_level() {
  auto set = [](const std::string& text, Config& config) {
    const auto level = parse_log_level(text);
    if (level) config.log_level = *level;
    return level.has_value();
  };
  return {"HFREDUCE_LOG_LEVEL", "warn", "one of off error warn info debug",
          "What the logger prints.", set};
}

ConfigVariable log_by_subsystem() {
  auto set = [](const std::string& text, Config& config) {
    if (!parse_log_levels(text, LogLevels())) return false;
    config.log = text;
    return true;
  };
  return {"HFREDUCE_LOG", "",
          "a level, then subsystem=level, with commas between; subsystems are setup rendezvous "
          "transport device operation recovery metrics",
          "The same by subsystem: warn,transport=debug. Over HFREDUCE_LOG_LEVEL.", set};
}

ConfigVariable metrics() {
  auto set = [](const std::string& text, Config& config) {
    if (!parse_metrics_address(text)) return false;
    config.metrics = text;
    return true;
  };
  return {"HFREDUCE_METRICS", "", "a port, host:port, or unix: and a path",
          "Where each process's metrics can be asked for: docs/metrics.md.", set};
}

std::vector<ConfigVariable> make_variables() {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  return {
      number("HFREDUCE_TIMEOUT_MS", "300000", 1, 86'400'000, &Config::timeout_ms,
             "Deadline of set-up and of every operation, in milliseconds."),
      words("HFREDUCE_RENDEZVOUS", "host:port", 280, &Config::rendezvous,
            "Where ranks meet when there is no unique id: rank 0 listens there."),
      words("HFREDUCE_SECRET", "1 to 1024 characters", 1024, &Config::secret,
            "The secret that ranks prove to each other with HFREDUCE_RENDEZVOUS."),
      words("HFREDUCE_SOCKET_IFNAME", "the name of a network interface that is up", 15,
            &Config::socket_ifname,
            "Interface that all sockets bind to. Default: the one that reaches the rendezvous; for "
            "hfr_get_unique_id the first one up that is not loopback."),
      words("HFREDUCE_HOSTID", "1 to 128 characters", 128, &Config::host_id,
            "Ranks with the same value share a node. Default: the machine's own identity."),
      size("HFREDUCE_CHUNK_BYTES", "chosen", 4096, kGiB, 4096, &Config::chunk_bytes,
           "Largest chunk. Agreed by all ranks."),
      number("HFREDUCE_WINDOW", "chosen", 1, 64, &Config::window,
             "Lanes: chunks in flight on a node. Rounded up to a multiple of the number of trees. "
             "Agreed by "
             "all ranks."),
      choice(
          "HFREDUCE_FOREST", "auto", {"auto", "tree", "ring"}, &Config::forest,
          "How nodes are joined: the double binary tree, the ring (up to 8 nodes, else the tree), "
          "or by the cost model. Agreed by all ranks."),
      size("HFREDUCE_FLAT_BYTES", "chosen", 1, 1 << 20, 1, &Config::flat_bytes,
           "Largest message that every rank of a single node adds by itself. Agreed by all ranks."),
      on_off("HFREDUCE_DIRECT", true, &Config::direct,
             "Read other ranks' buffers in place where they can be reached. Agreed by all ranks."),
      size("HFREDUCE_HEAP_BYTES", "the machine's memory", 4096, uint64_t{1} << 44, 4096,
           &Config::heap_bytes, "Address space for hfr_mem_alloc, per rank. Agreed by all ranks."),
      choice("HFREDUCE_HUGE_PAGES", "auto", {"auto", "off"}, &Config::huge_pages,
             "Ask for huge pages in shared memory."),
      choice(
          "HFREDUCE_BIND", "auto", {"auto", "none"}, &Config::bind,
          "Keep the adding threads of ranks on GPUs on NUMA nodes, and spread staging over all of "
          "them; none: neither. Callers' threads are never bound."),
      number("HFREDUCE_SPIN_US", "chosen", 0, 10'000'000, &Config::spin_us,
             "How long a waiter spins before it yields, in microseconds; less where another rank "
             "waits on its CPU. 0: chosen, 50 or, where ranks outnumber CPUs, none."),
      choice("HFREDUCE_TRANSPORT", "auto", {"auto", "tcp", "verbs", "loopback"}, &Config::transport,
             "What joins nodes: loopback when all ranks are threads of one process, else verbs "
             "when all have a usable device, else TCP. Agreed by all ranks."),
      words("HFREDUCE_TCP_CONGESTION", "a congestion control that the kernel offers", 15,
            &Config::tcp_congestion, "Congestion control of connections between nodes."),
      number("HFREDUCE_TCP_CONNECTIONS", "1", 1, 16, &Config::tcp_connections,
             "Connections to each peer. Agreed by peers."),
      words("HFREDUCE_IB_HCA",
            "devices such as mlx5_0,mlx5_1:2 (a port after the colon), or ^mlx5_2 for all others",
            1024, &Config::ib_hca, "Devices that verbs may use. Default: all."),
      gid_index(),
      choice("HFREDUCE_IB_MTU", "auto", {"auto", "256", "512", "1024", "2048", "4096"},
             &Config::ib_mtu,
             "Largest packet's payload in bytes; auto: the smaller of both ports' active ones."),
      number("HFREDUCE_IB_SL", "0", 0, 15, &Config::ib_service_level,
             "InfiniBand service level (RoCE: priority). Agreed by peers."),
      number("HFREDUCE_IB_TC", "0", 0, 255, &Config::ib_traffic_class,
             "Traffic class. Agreed by peers."),
      number("HFREDUCE_IB_TIMEOUT", "18", 1, 31, &Config::ib_timeout,
             "A packet is sent again when 4.096 us * 2^timeout passed without an acknowledgement."),
      number("HFREDUCE_IB_RETRY_CNT", "6", 0, 7, &Config::ib_retry_count,
             "How often a packet is sent again before its connection counts as broken (7: for "
             "ever, on "
             "soft-RoCE; then the library's own watch counts)."),
      number("HFREDUCE_IB_QPS", "as many as both sides have rails", 1, 16, &Config::ib_queue_pairs,
             "Queue pairs to each peer. Agreed by peers."),
      choice("HFREDUCE_DEVICE", "host", {"host", "cuda"}, &Config::device,
             "Where this rank's buffers are. Ranks may differ."),
      on_off("HFREDUCE_CUDA_MEMOPS", true, &Config::cuda_memops,
             "Order GPU work by stream memory operations; 0: by events, as on devices that lack "
             "them."),
      gdr_copy_bytes(),
      number("HFREDUCE_ADD_THREADS", "chosen", 1, 32, &Config::add_threads,
             "Threads that add, of each CUDA rank."),
      number("HFREDUCE_COPY_STEP", "2", 0, 64, &Config::copy_step,
             "How many chunks a rank copies to host memory at a time before other processes on its "
             "GPU have come as far; 0: any number."),
      choice("HFREDUCE_GPU_GROUP", "auto", {"auto", "0", "2", "4", "8"}, &Config::gpu_group,
             "How many GPUs of a node add among themselves before the CPU does; auto: those that "
             "NVLink joins and that belong to different processes; 0: none. Agreed by all ranks."),
      size("HFREDUCE_GPU_GROUP_FROM", "chosen", 1, uint64_t{1} << 44, 1, &Config::gpu_group_from,
           "Smallest message for which they do. Agreed by all ranks."),
      number("HFREDUCE_GPU_GROUP_BLOCKS", "16", 1, 1024, &Config::gpu_group_blocks,
             "Most thread blocks of the kernel that adds in a group."),
      choice("HFREDUCE_ISA", "auto",
             {"auto", "scalar", "avx2", "avx512", "avx512_bf16_fp16", "neon", "sve"}, &Config::isa,
             "Instruction set of the adding kernels."),
      log_level(),
      log_by_subsystem(),
      words("HFREDUCE_LOG_FILE", kPath, 4096, &Config::log_file,
            "Where the logger writes. Default: standard error."),
      words("HFREDUCE_TRACE", kPath, 4096, &Config::trace,
            "File that gets the stages of chunks on the lanes path, the last 65536 with their "
            "times, as "
            "Chrome's trace events, when the communicator is destroyed or suspended."),
      recorder_dir(),
      choice("HFREDUCE_RECORDER_SIGNAL", "off", {"off", "USR1", "USR2", "HUP", "QUIT"},
             &Config::recorder_signal,
             "On this signal a process copies its ranks' records to the folder dumps beside them."),
      metrics(),
      choice("HFREDUCE_CHECK", "off", {"off", "crc"}, &Config::check,
             "Checksums of each chunk on its way, of what the CPU can read: docs/integrity.md. "
             "Agreed by all ranks."),
  };
}

std::string trim(const std::string& text) {
  size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

Status set_variable(const ConfigVariable& variable, const std::string& value,
                    const std::string& where, Config& config) {
  if (variable.set(value, config)) return Status();
  // A secret is never printed.
  std::string shown = variable.name == "HFREDUCE_SECRET" ? "..." : value;
  return Status(Code::kInvalidArgument, cat(variable.name, "=", shown, " (", where,
                                            ") is not allowed: it must be ", variable.allowed));
}

Status load_file(const std::string& path, Config& config) {
  std::ifstream file(path);
  if (!file) {
    return Status(Code::kInvalidArgument, cat("HFREDUCE_CONFIG_FILE=", path,
                                              " cannot be read; it must be a readable file"));
  }
  return apply_config_lines(file, path, config);
}

}  // namespace

const std::vector<ConfigVariable>& config_variables() {
  static const std::vector<ConfigVariable> kVariables = make_variables();
  return kVariables;
}

Status apply_config_lines(std::istream& in, const std::string& name, Config& config) {
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    line = trim(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    std::string where = cat(name, ":", number);
    size_t equals = line.find('=');
    if (equals == std::string::npos) {
      return Status(Code::kInvalidArgument, cat(where, ": '", line, "' is not NAME=VALUE"));
    }
    std::string variable = trim(line.substr(0, equals));
    const auto& variables = config_variables();
    auto found = std::find_if(variables.begin(), variables.end(),
                              [&](const ConfigVariable& v) { return v.name == variable; });
    if (found == variables.end()) {
      return Status(Code::kInvalidArgument, cat(where, ": no setting is called ", variable,
                                                "; docs/configuration.md lists them"));
    }
    HFR_RETURN_IF_ERROR(set_variable(*found, trim(line.substr(equals + 1)), where, config));
  }
  return Status();
}

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

Result<Config> load_config(const Environment& environment) {
  Config config;
  if (auto path = environment("HFREDUCE_CONFIG_FILE"); path && !path->empty()) {
    HFR_RETURN_IF_ERROR(load_file(*path, config));
  }
  for (const auto& variable : config_variables()) {
    auto value = environment(variable.name);
    // An empty variable is the same as none: launchers often pass those.
    if (!value || value->empty()) continue;
    HFR_RETURN_IF_ERROR(set_variable(variable, *value, "environment", config));
  }
  return config;
}

std::optional<uint64_t> parse_size(const std::string& text) {
  if (text.empty()) return std::nullopt;
  uint64_t scale = 1;
  std::string digits = text;
  switch (text.back()) {
    case 'k':
    case 'K':
      scale = uint64_t{1} << 10;
      break;
    case 'm':
    case 'M':
      scale = uint64_t{1} << 20;
      break;
    case 'g':
    case 'G':
      scale = uint64_t{1} << 30;
      break;
    default:
      break;
  }
  if (scale != 1) digits.pop_back();
  auto value = parse_whole<uint64_t>(digits);
  if (!value || *value > UINT64_MAX / scale) return std::nullopt;
  return *value * scale;
}

std::optional<MetricsAddress> parse_metrics_address(const std::string& text) {
  constexpr size_t kLongest = 1024;
  MetricsAddress address;
  if (text.starts_with("unix:")) {
    address.path = text.substr(5);
    if (address.path.empty() || text.size() > kLongest) return std::nullopt;
    return address;
  }
  const bool port_only = parse_whole<uint16_t>(text).has_value();
  auto tcp = parse_host_port(port_only ? cat("127.0.0.1:", text) : text, true);
  if (!tcp.ok() || text.size() > kLongest) return std::nullopt;
  address.tcp = *tcp;
  return address;
}

LogLevels log_levels(const Config& config) {
  const LogLevels otherwise(config.log_level);
  return parse_log_levels(config.log, otherwise).value_or(otherwise);
}

std::string shared_settings(const Config& config) {
  return cat("chunk_bytes=", config.chunk_bytes, ";window=", config.window,
             ";forest=", config.forest, ";flat_bytes=", config.flat_bytes,
             ";direct=", config.direct ? 1 : 0, ";check=", config.check,
             ";heap_bytes=", config.heap_bytes, ";transport=", config.transport,
             ";gpu_group=", config.gpu_group, ";gpu_group_from=", config.gpu_group_from);
}

}  // namespace hfr
