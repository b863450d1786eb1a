#include "tools/sim_cluster.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

using nlohmann::json;

constexpr double kGiga = 1e9;
constexpr double kLeastRate = 1e-3;  // GB/s: virtual time has 64 bits of picoseconds
constexpr double kMost = 1e9;        // no rate, time or number here is larger

struct FileError {
  std::string sentence;
};

// One object of the file. Every key that it has must have been asked for.
class Reader {
 public:
  Reader(const json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value.is_object()) fail("", "must be an object");
  }

  void done() const {
    for (const auto& [key, unused] : value_.items()) {
      if (key != "about" && !asked_.contains(key)) fail(key, "is not known here");
    }
  }

  bool has(const char* key) {
    asked_.insert(key);
    return value_.contains(key);
  }
  double number(const char* key) {
    const double number = as_number(need(key), at(key));
    if (number <= 0) fail(key, "must be more than 0");
    return number;
  }
  double number_or(const char* key, double otherwise) {
    if (!has(key)) return otherwise;
    return as_number(value_.at(key), at(key));
  }
  double rate(const char* key) {
    if (number(key) < kLeastRate) fail(key, cat("must be at least ", kLeastRate));
    return number(key) * kGiga;
  }
  double rate_or(const char* key, double otherwise) { return has(key) ? rate(key) : otherwise; }
  int integer(const char* key) {
    const json& value = need(key);
    if (!value.is_number_integer() || value < 0 || value > 1'000'000)
      fail(key, "must be a whole number from 0 to 1000000");
    return value;
  }
  int integer_or(const char* key, int otherwise) { return has(key) ? integer(key) : otherwise; }
  bool flag_or(const char* key, bool otherwise) {
    if (!has(key)) return otherwise;
    if (!value_.at(key).is_boolean()) fail(key, "must be true or false");
    return value_.at(key);
  }
  std::string string(const char* key) {
    if (!need(key).is_string()) fail(key, "must be a string");
    return value_.at(key);
  }
  Reader object(const char* key) { return Reader(need(key), at(key)); }
  // Of objects.
  template <typename Each>
  void array(const char* key, Each&& each) {
    if (!need(key).is_array()) fail(key, "must be an array");
    size_t i = 0;
    for (const json& element : value_.at(key)) {
      Reader reader(element, cat(at(key), "[", i++, "]"));
      each(reader);
      reader.done();
    }
  }
  std::vector<std::vector<int>> groups(const char* key) {
    if (!need(key).is_array()) fail(key, "must be an array of arrays of GPU numbers");
    std::vector<std::vector<int>> groups;
    for (const json& group : value_.at(key)) {
      groups.emplace_back();
      if (!group.is_array()) fail(key, "must be an array of arrays of GPU numbers");
      for (const json& gpu : group) {
        if (!gpu.is_number_integer() || gpu < 0 || gpu > 1'000'000)
          fail(key, "must be an array of arrays of GPU numbers");
        groups.back().push_back(gpu);
      }
    }
    return groups;
  }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    const std::string where = key.empty() ? path_ : at(key);
    throw FileError{cat(where.empty() ? "the file" : where, " ", what)};
  }

 private:
  std::string at(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const json& need(const char* key) {
    if (!has(key)) fail(key, "is missing");
    return value_.at(key);
  }
  static double as_number(const json& value, const std::string& where) {
    if (!value.is_number() || value < 0 || value > kMost)
      throw FileError{cat(where, " must be a number from 0 to ", kMost)};
    return value;
  }

  const json& value_;
  const std::string path_;
  std::set<std::string> asked_;
};

// Of two values with one key the library would keep the last.
json parse_strictly(const std::string& text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  return json::parse(text, [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto key = value.get<std::string>();
      if (!keys.back().insert(key).second) throw FileError{cat(key, " stands twice in one object")};
    }
    return true;
  });
}

void read_devices(Reader& in, sim::NodeSpec& node) {
  in.array("root_ports", [&](Reader& port) {
    sim::RootPortSpec spec;
    spec.socket = port.integer("socket");
    spec.each_way_rate = port.rate("each_way_gbytes_per_s");
    spec.both_ways_rate = port.rate_or("both_ways_gbytes_per_s", 2 * spec.each_way_rate);
    node.root_ports.push_back(spec);
  });
  in.array("gpus", [&](Reader& gpu) {
    sim::GpuSpec spec;
    spec.root_port = gpu.integer("root_port");
    spec.each_way_rate = gpu.rate("each_way_gbytes_per_s");
    spec.memory_rate = gpu.rate("memory_gbytes_per_s");
    node.gpus.push_back(spec);
  });
  node.ranks_per_gpu = in.integer_or("ranks_per_gpu", 1);
  if (node.ranks_per_gpu < 1) in.fail("ranks_per_gpu", "must be at least 1");
  in.array("nics", [&](Reader& nic) {
    node.nics.push_back({nic.integer("root_port"), nic.rate("each_way_gbytes_per_s")});
  });
  if (in.has("gpu_groups")) node.gpu_groups = in.groups("gpu_groups");
  node.gpu_group_rate = in.rate_or("gpu_group_gbytes_per_s", 0);
  node.gpu_peer_rate = in.rate_or("gpu_peer_gbytes_per_s", 0);
  node.dma_uses_cache = in.flag_or("dma_uses_cache", false);
  node.copy_out_reads_once = in.flag_or("copy_out_reads_once_per_socket", false);
  node.results_near_nic = in.flag_or("results_near_nic", false);
  node.inputs_near_gpu = in.flag_or("inputs_near_gpu", false);
  node.copy_overhead_us = in.number_or("copy_overhead_us", 0);
  node.add_overhead_us = in.number_or("add_overhead_us", 0);
}

sim::CoreRates read_core_rates(Reader& in) {
  return {.copy = in.rate("copy_gbytes_per_core_s"),
          .add = in.rate("add_gbytes_per_core_s"),
          .send = in.rate("send_gbytes_per_core_s"),
          .receive = in.rate("receive_gbytes_per_core_s")};
}

void read_host(Reader in, sim::HostSpec& host) {
  host.ranks = in.integer("ranks");
  if (host.ranks < 1 || host.ranks > 64) in.fail("ranks", "must be from 1 to 64");
  host.cores = in.number("cores");
  host.rates = read_core_rates(in);
  if (in.has("cached")) {
    Reader cached = in.object("cached");
    host.cached = read_core_rates(cached);
    cached.done();
  }
  in.done();
}

sim::NodeSpec read_node(Reader in) {
  sim::NodeSpec node;
  const bool on_host = in.has("host");
  in.array("sockets", [&](Reader& socket) {
    sim::SocketSpec spec;
    spec.memory_rate = socket.rate("memory_gbytes_per_s");
    if (!on_host) spec.add_rate = socket.rate("add_gbytes_per_s");
    spec.cache_bytes = static_cast<size_t>(socket.number_or("cache_mib", 0) * (1 << 20));
    node.sockets.push_back(spec);
  });
  node.socket_link_rate = in.rate_or("socket_link_gbytes_per_s", 0);
  if (on_host) {
    read_host(in.object("host"), node.host);
  } else {
    read_devices(in, node);
  }
  in.done();
  return node;
}

sim::FabricSpec read_fabric(Reader in) {
  sim::FabricSpec fabric;
  fabric.spines = in.integer_or("spines", 0);
  if (fabric.spines > 0) {
    fabric.nodes_per_leaf = in.integer("nodes_per_leaf");
    if (fabric.nodes_per_leaf < 1) in.fail("nodes_per_leaf", "must be at least 1");
    fabric.port_rate = in.rate("port_gbytes_per_s");
    fabric.nodes_per_zone = in.integer_or("nodes_per_zone", 0);
    if (fabric.nodes_per_zone > 0) {
      fabric.zone_links = in.integer("zone_links");
      if (fabric.zone_links < 1) in.fail("zone_links", "must be at least 1");
      if (fabric.nodes_per_zone % fabric.nodes_per_leaf != 0)
        in.fail("nodes_per_zone", "must be a multiple of nodes_per_leaf");
    }
  }
  fabric.put_overhead_us = in.number_or("put_overhead_us", 0);
  fabric.base_latency_us = in.number_or("base_latency_us", 0);
  fabric.hop_latency_us = in.number_or("hop_latency_us", 0);
  in.done();
  return fabric;
}

}  // namespace

Result<sim::ClusterSpec> parse_cluster(const std::string& text) {
  const auto wrong = [](const std::string& what) { return Status(Code::kInvalidArgument, what); };
  try {
    const json file = parse_strictly(text);
    Reader in(file, "");
    sim::ClusterSpec cluster;
    cluster.name = in.string("name");
    cluster.nodes = in.integer("nodes");
    if (cluster.nodes < 1) in.fail("nodes", "must be at least 1");
    cluster.node = read_node(in.object("node"));
    cluster.fabric = read_fabric(in.object("fabric"));
    cluster.one_machine = in.flag_or("one_machine", false);
    in.done();
    HFR_RETURN_IF_ERROR(sim::check_cluster(cluster));
    return cluster;
  } catch (const FileError& error) {
    return wrong(error.sentence);
  } catch (const json::exception& error) {
    // Without the library's own name for it.
    const std::string_view what = error.what();
    const size_t name_end = what.find("] ");
    return wrong(cat("not JSON: ", what.substr(name_end == what.npos ? 0 : name_end + 2)));
  }
}

std::string machine_cluster_text(const Topology& topology, const MachineRates& rates, int nodes,
                                 int ranks_per_node) {
  // Two significant places more than the measurement is good for.
  auto gbytes = [](double rate) { return std::round(rate / kGiga * 1000) / 1000; };
  size_t cache_bytes = 0;
  if (!topology.caches.empty()) {
    const CacheLevel& last = topology.caches.back();
    cache_bytes = last.bytes * static_cast<size_t>(last.count);
  }
  nlohmann::ordered_json file;
  file["name"] = cat(topology.host, ", ", nodes, nodes == 1 ? " node" : " emulated nodes");
  file["about"] = cat(topology.processor, ", measured by hfreduce topo --cluster");
  file["nodes"] = nodes;
  // One socket: the kernel moves ranks as it likes.
  file["node"]["sockets"] = {
      {{"memory_gbytes_per_s", gbytes(rates.memory)}, {"cache_mib", cache_bytes >> 20}}};
  auto put_rates = [&](nlohmann::ordered_json& host, const sim::CoreRates& core) {
    host["copy_gbytes_per_core_s"] = gbytes(core.copy);
    host["add_gbytes_per_core_s"] = gbytes(core.add);
    host["send_gbytes_per_core_s"] = gbytes(core.send);
    host["receive_gbytes_per_core_s"] = gbytes(core.receive);
  };
  auto& host = file["node"]["host"];
  host = {{"ranks", ranks_per_node}, {"cores", topology.usable_cpus}};
  put_rates(host, rates.core);
  put_rates(host["cached"], rates.cached);
  file["fabric"] = {{"base_latency_us", std::round(rates.latency_us * 10) / 10}};
  file["one_machine"] = true;
  return file.dump(2) + "\n";
}

Result<sim::ClusterSpec> read_cluster_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  // A folder can be opened, and gives nothing.
  if (!file || text.str().empty())
    return Status(Code::kInvalidArgument, cat("--cluster: cannot read ", path, ", or it is empty"));
  auto cluster = parse_cluster(text.str());
  if (cluster.ok()) return cluster;
  return Status(cluster.status().code(), cat(path, ": ", cluster.status().message()));
}

}  // namespace hfr::tools
