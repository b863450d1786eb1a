// Command line of the timing program.
#ifndef HFREDUCE_BENCH_TRANSPORT_OPTIONS_HPP_
#define HFREDUCE_BENCH_TRANSPORT_OPTIONS_HPP_

#include <cstddef>
#include <stdexcept>
#include <string>

namespace hfr_bench {

inline constexpr char kUsage[] =
    "usage: transport_bench --link loopback|tcp|sockets|verbs --measure latency|bandwidth\n"
    "         [--size BYTES] [--count MESSAGES] [--depth MESSAGES] [--host ADDRESS]\n"
    "         [--devices NAME[:PORT][,NAME[:PORT]]] [--gid-index N] [--cpus A,B]\n"
    "Two sides on this machine, processes but for loopback. Prints `bytes messages value`: median\n"
    "half round trip in us, or MB/s with --depth messages under way.\n";

struct Options {
  std::string link;
  std::string measure;
  size_t bytes = 8;
  int count = 1000;
  int depth = 64;
  std::string host = "127.0.0.1";  // both sides' address
  std::string devices[2];          // verbs: each side's; empty: the first usable one
  int gid_index = -1;
  int cpus[2] = {-1, -1};
};

// "a,b": one for each side; "a": the same for both.
inline void split(const std::string& text, std::string (&parts)[2]) {
  const size_t comma = text.find(',');
  parts[0] = text.substr(0, comma);
  parts[1] = comma == std::string::npos ? parts[0] : text.substr(comma + 1);
}

inline int whole_number(const std::string& name, const std::string& text, int least) {
  size_t end = 0;
  int value = 0;
  try {
    value = std::stoi(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end != text.size() || text.empty() || value < least) {
    throw std::invalid_argument(name + " " + text + ": a whole number from " +
                                std::to_string(least) + " is expected");
  }
  return value;
}

inline Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) throw std::invalid_argument(name + " lacks its value, or is unknown");
    const std::string value = argv[i + 1];
    if (name == "--link") {
      options.link = value;
    } else if (name == "--measure") {
      options.measure = value;
    } else if (name == "--size") {
      options.bytes = static_cast<size_t>(whole_number(name, value, 1));
    } else if (name == "--count") {
      options.count = whole_number(name, value, 1);
    } else if (name == "--depth") {
      options.depth = whole_number(name, value, 1);
    } else if (name == "--host") {
      options.host = value;
    } else if (name == "--devices") {
      split(value, options.devices);
    } else if (name == "--gid-index") {
      options.gid_index = whole_number(name, value, 0);
    } else if (name == "--cpus") {
      std::string cpus[2];
      split(value, cpus);
      for (int side = 0; side < 2; ++side) options.cpus[side] = whole_number(name, cpus[side], 0);
    } else {
      throw std::invalid_argument(name + " is unknown");
    }
  }
  const std::string& link = options.link;
  if (link != "loopback" && link != "tcp" && link != "sockets" && link != "verbs")
    throw std::invalid_argument("--link must be loopback, tcp, sockets or verbs");
  if (options.measure != "latency" && options.measure != "bandwidth")
    throw std::invalid_argument("--measure must be latency or bandwidth");
  return options;
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_TRANSPORT_OPTIONS_HPP_
