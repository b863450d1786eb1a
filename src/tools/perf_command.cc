#include "tools/perf_command.hpp"

#include <unistd.h>

#include <iostream>
#include <memory>

#include "base/config.hpp"
#include "tools/command_line.hpp"
#include "tools/launch.hpp"
#include "tools/perf.hpp"
#include "tools/perf_numbers.hpp"

namespace hfr::tools {
namespace {

struct Arguments {
  PerfOptions options;
  std::string type = "float";
  std::string op = "sum";
  std::string root = "0";
  std::string device = "host";
  int blocking = -1;  // not given: what the device's users do
  int average = static_cast<int>(Average::kMean);
  int registered = 0;
  int nodes = 0;  // 0: do not start processes
  int ranks_per_node = 1;
  CLI::Option* max_bytes = nullptr;
};

int fail(const std::string& sentence) {
  std::cerr << "hfreduce perf: " << sentence << "\n";
  return kBadOptions;
}

std::string own_path() {
  std::string path(4096, '\0');
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return path.empty() ? "hfreduce" : path;
}

void add_options(CLI::App& perf, Arguments& arguments) {
  constexpr int kMost = 1'000'000;
  const CLI::Range zero_or_one(0, 1);
  PerfOptions& o = arguments.options;
  // As nccl-tests: a script that passes options on (scripts/demo.sh) lets them be set again.
  perf.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  auto size = [&](const char* names, size_t& value, const char* meaning) {
    return perf.add_option(names, value, meaning)
        ->transform(size_validator())
        ->capture_default_str();
  };
  auto number = [&](const char* names, int& value, int low, int high, const char* meaning) {
    perf.add_option(names, value, meaning)->check(CLI::Range(low, high))->capture_default_str();
  };
  size("-b,--minbytes", o.min_bytes, "smallest size");
  arguments.max_bytes = size("-e,--maxbytes", o.max_bytes, "largest size");
  size("-i,--stepbytes", o.step_bytes, "from one size to the next: added");
  perf.add_option("-f,--stepfactor", o.factor,
                  "from one size to the next: multiplied; goes before -i")
      ->check(CLI::Range(1.0, 1e6));
  perf.add_option("-o,--op", arguments.op, "sum, prod, min, max, avg or all")
      ->capture_default_str();
  perf.add_option(
          "-d,--datatype", arguments.type,
          "int8 to int64, uint8 to uint64, half, bfloat16, float, double, f8e4m3, f8e5m2 or all")
      ->capture_default_str();
  perf.add_option("-r,--root", arguments.root,
                  "taken for nccl-tests' sake: an all-reduce has no root");
  number("-n,--iters", o.iterations, 1, kMost, "timed iterations");
  number("-w,--warmup_iters", o.warmups, 0, kMost, "iterations before them");
  number("-m,--agg_iters", o.aggregate, 1, 256, "operations in flight together per iteration");
  number("-c,--check", o.checks, 0, kMost, "operations whose every value is checked; 0: none");
  perf.add_option("-z,--blocking", arguments.blocking,
                  "1: each operation is waited for (host's default); 0: all go to a stream that is "
                  "waited for (cuda's)")
      ->check(zero_or_one);
  number("-a,--average", arguments.average, 0, 3,
         "the time shown: 0 rank 0's, 1 mean, 2 least, 3 most of all ranks");
  perf.add_option("-R,--local_register", arguments.registered,
                  "1: buffers from hfr_mem_alloc; on a GPU this is plain memory")
      ->check(zero_or_one)
      ->capture_default_str();
  number("-t,--nthreads", o.threads, 1, 1024, "threads per process, each with -g ranks");
  number("-g,--ngpus", o.per_thread, 1, 1024,
         "ranks (GPUs) per thread; each rank gets a thread, so -t 2 -g 2 is -t 4");
  number("-G,--cudagraph", o.graph_launches, 0, kMost,
         "put the iterations into one CUDA graph and launch it so many times; 0: no graph");
  perf.add_option("--device", arguments.device, "where the buffers are: host or cuda")
      ->check(CLI::IsMember({"host", "cuda"}))
      ->capture_default_str();
  number("--nodes", arguments.nodes, 1, 1024, "start this many emulated nodes on this machine");
  number("--ranks-per-node", arguments.ranks_per_node, 1, 1024, "processes of each emulated node");
  perf.add_option("-J,--json", o.json_file, "write the results to this file as JSON");
}

// The sentence that says what is wrong with the arguments, or nothing.
std::string settle(Arguments& arguments) {
  PerfOptions& o = arguments.options;
  const bool cuda = arguments.device == "cuda";
  o.device = cuda ? HFR_DEVICE_CUDA : HFR_DEVICE_HOST;
  o.blocking = arguments.blocking < 0 ? !cuda : arguments.blocking != 0;
  if (o.graph_launches > 0 && !cuda)
    return "-G: a CUDA graph needs a CUDA device, and these buffers are in host memory; add "
           "--device cuda, or leave -G out";
  if (o.graph_launches > 0 && o.blocking)
    return "-G launches what is on a stream, and -z 1 uses none; leave one of them out";
  if (o.min_bytes > o.max_bytes) {
    if (arguments.max_bytes->count() > 0) {
      return "-b " + std::to_string(o.min_bytes) + " is more than -e " +
             std::to_string(o.max_bytes);
    }
    o.max_bytes = o.min_bytes;
  }
  if (o.factor <= 1 && o.step_bytes == 0)
    return "-i 0 leads nowhere; give a step of at least 1 byte, or -f";
  if (arguments.type == "all") {
    o.types.clear();
    for (int type = 0; type < HFR_NUM_DTYPES; ++type)
      o.types.push_back(static_cast<hfr_dtype_t>(type));
  } else if (auto type = parse_type(arguments.type)) {
    o.types = {*type};
  } else {
    return "-d " + arguments.type + " is no type; `hfreduce perf --help` lists them";
  }
  if (arguments.op == "all") {
    o.ops = {HFR_SUM, HFR_PROD, HFR_MIN, HFR_MAX, HFR_AVG};
  } else if (auto op = parse_op(arguments.op)) {
    o.ops = {*op};
  } else {
    return "-o " + arguments.op + " is no operation; `hfreduce perf --help` lists them";
  }
  o.registered = arguments.registered != 0;
  o.average = static_cast<Average>(arguments.average);
  return "";
}

// This very command, once per rank.
int relaunch(const Arguments& arguments, const std::vector<std::string>& line) {
  LaunchSpec spec;
  spec.nodes = std::max(arguments.nodes, 1);
  spec.ranks_per_node = arguments.ranks_per_node;
  spec.command = {own_path()};
  for (const std::string& argument : without_options(line, {"--nodes", "--ranks-per-node"})) {
    spec.command.push_back(argument);
  }
  return launch(spec);
}

}  // namespace

CLI::Validator size_validator() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        auto size = parse_size(text);
        if (!size)
          return "'" + text + "' is not a number of bytes, with K, M or G for powers of 1024";
        text = std::to_string(*size);
        return "";
      },
      "BYTES");
}

std::function<int(const std::vector<std::string>&)> add_perf_command(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* perf =
      app.add_subcommand("perf", "Time all-reduces; options and columns are nccl-tests'");
  add_options(*perf, *arguments);
  return [arguments, perf](const std::vector<std::string>& line) {
    if (std::string sentence = settle(*arguments); !sentence.empty()) return fail(sentence);
    if (perf->count("--nodes") + perf->count("--ranks-per-node") > 0)
      return relaunch(*arguments, line);
    arguments->options.command_line = "hfreduce";
    for (const std::string& argument : line) arguments->options.command_line += " " + argument;
    return run_perf(arguments->options, is_launched(process_environment()));
  };
}

}  // namespace hfr::tools
