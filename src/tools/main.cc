// The `hfreduce` command: run, perf, topo.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/config.hpp"
#include "tools/launch.hpp"
#include "tools/perf.hpp"
#include "tools/topo.hpp"

namespace {

using namespace hfr::tools;

// "8", "4K", "186M", "1G"
CLI::Validator size_validator() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        auto size = hfr::parse_size(text);
        if (!size)
          return "'" + text + "' is not a number of bytes, with K, M or G for powers of 1024";
        text = std::to_string(*size);
        return "";
      },
      "BYTES");
}

struct PerfArguments {
  PerfOptions options;
  std::string type = "float";
  std::string op = "sum";
  std::string device = "host";
  int nodes = 0;
  int ranks_per_node = 1;
  int threads = 1;
  int gpus = 1;
  int root = 0;
  int check = 1;
  int blocking = 1;
  int registered = 0;
  int graph = 0;
};

void add_perf(CLI::App& app, PerfArguments& arguments) {
  CLI::App* perf =
      app.add_subcommand("perf", "Time all-reduces; options and columns are nccl-tests'");
  PerfOptions& o = arguments.options;
  perf->add_option("-b,--minbytes", o.min_bytes, "smallest size")
      ->transform(size_validator())
      ->capture_default_str();
  perf->add_option("-e,--maxbytes", o.max_bytes, "largest size")
      ->transform(size_validator())
      ->capture_default_str();
  perf->add_option("-i,--stepbytes", o.step_bytes, "size increment")
      ->transform(size_validator())
      ->capture_default_str();
  perf->add_option("-f,--stepfactor", o.factor, "size factor; overrides -i")
      ->check(CLI::Range(1.0, 1e6));
  perf->add_option("-n,--iters", o.iterations, "timed iterations")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  perf->add_option("-w,--warmup_iters", o.warmups, "warm-ups")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  perf->add_option("-m,--agg_iters", o.aggregate, "operations in flight per iteration")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  perf->add_option("-o,--op", arguments.op, "sum, prod, min, max, avg or all")
      ->capture_default_str();
  perf->add_option("-d,--datatype", arguments.type,
                   "float, half, bfloat16, f8e4m3, int8 ... or all")
      ->capture_default_str();
  perf->add_option("-r,--root", arguments.root, "root; all-reduce has none, so only 0 is taken")
      ->check(CLI::Range(0, 0));
  perf->add_option("-c,--check", arguments.check, "1: check every value")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  perf->add_option("-z,--blocking", arguments.blocking,
                   "1: each operation is waited for; 0: iterations are started ahead")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  perf->add_option("-a,--average", o.average, "time over ranks: 0 rank 0's, 1 mean, 2 min, 3 max")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  perf->add_option("-R,--local_register", arguments.registered, "1: buffers from hfr_mem_alloc")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  perf->add_option("-t,--nthreads", arguments.threads, "ranks as threads of this process")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  perf->add_option("-g,--ngpus", arguments.gpus,
                   "ranks per thread; host ranks have a thread each, so only 1 is taken")
      ->check(CLI::Range(1, 1));
  perf->add_option("-G,--cudagraph", arguments.graph,
                   "CUDA graphs; host ranks have none, so only 0 is taken")
      ->check(CLI::Range(0, 0));
  perf->add_option("--device", arguments.device, "where the buffers are")
      ->check(CLI::IsMember({"host"}))
      ->capture_default_str();
  perf->add_option("--nodes", arguments.nodes, "start this many emulated nodes on this machine")
      ->check(CLI::Range(1, 256));
  perf->add_option("--ranks-per-node", arguments.ranks_per_node, "processes of each emulated node")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  perf->add_option("-J,--json", o.json_file, "write the results to this file");
}

int fail(const std::string& sentence) {
  std::cerr << "hfreduce: " << sentence << "\n";
  return 2;
}

std::string own_path() {
  std::array<char, 4096> path{};
  ssize_t size = readlink("/proc/self/exe", path.data(), path.size() - 1);
  return size > 0 ? path.data() : "hfreduce";
}

int perf(PerfArguments& arguments, int argc, char** argv) {
  PerfOptions& o = arguments.options;
  if (o.min_bytes > o.max_bytes) o.max_bytes = o.min_bytes;
  if (o.factor <= 1 && o.step_bytes == 0) return fail("-i must be at least 1");
  o.check = arguments.check != 0;
  o.blocking = arguments.blocking != 0;
  o.registered = arguments.registered != 0;
  for (int i = 0; i < argc; ++i) o.command_line += (i > 0 ? " " : "") + std::string(argv[i]);
  if (arguments.type == "all") {
    o.types.clear();
    for (int t = 0; t < HFR_NUM_DTYPES; ++t) o.types.push_back(static_cast<hfr_dtype_t>(t));
  } else if (auto type = parse_type(arguments.type)) {
    o.types = {*type};
  } else {
    return fail("-d " + arguments.type + " is no type; `hfreduce perf --help` lists them");
  }
  if (arguments.op == "all") {
    o.ops = {HFR_SUM, HFR_PROD, HFR_MIN, HFR_MAX, HFR_AVG};
  } else if (auto op = parse_op(arguments.op)) {
    o.ops = {*op};
  } else {
    return fail("-o " + arguments.op + " is no operation; `hfreduce perf --help` lists them");
  }

  const bool launched =
      std::getenv("RANK") != nullptr || std::getenv("OMPI_COMM_WORLD_RANK") != nullptr ||
      std::getenv("PMI_RANK") != nullptr || std::getenv("SLURM_PROCID") != nullptr;
  if (launched) {
    if (arguments.threads > 1)
      return fail("-t is for runs without a launcher: each process is one rank here");
    hfr_comm_t comm = nullptr;
    if (hfr_comm_init_env(&comm, nullptr) != HFR_SUCCESS) return fail(hfr_get_last_error(nullptr));
    int status = run_perf(comm, o);
    hfr_comm_destroy(comm);
    return status;
  }
  if (arguments.nodes > 0) {
    LaunchSpec spec;
    spec.nodes = arguments.nodes;
    spec.ranks_per_node = arguments.ranks_per_node;
    spec.command.assign(argv, argv + argc);
    spec.command[0] = own_path();
    return launch(spec);
  }
  return run_perf_threads(arguments.threads, o);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"HFReduce: all-reduce through host memory", "hfreduce"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("hfreduce ") + HFREDUCE_TOOLS_VERSION);

  LaunchSpec spec;
  CLI::App* run = app.add_subcommand("run", "Start the ranks of a program on this machine");
  run->add_option("--nodes", spec.nodes, "emulated nodes")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  run->add_option("--ranks-per-node", spec.ranks_per_node, "ranks of each")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  run->add_flag("--tag", spec.tag, "begin each line of output with [rank]");
  run->add_option("--grace", spec.grace_s, "seconds between asking ranks to end and killing them")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  run->add_option("program", spec.command, "the program and its arguments, after --")->required();

  PerfArguments perf_arguments;
  add_perf(app, perf_arguments);

  TopoOptions topo_options;
  CLI::App* topo = app.add_subcommand(
      "topo", "Show what was found: sockets, NUMA nodes, caches, GPUs, NICs, lanes");
  topo->add_option("--nodes", topo_options.nodes, "nodes of the job to show")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  topo->add_option("--ranks-per-node", topo_options.ranks_per_node, "ranks of each")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  topo->add_option("--svg", topo_options.svg_file, "write a drawing to this file");
  topo->add_option("--dot", topo_options.dot_file, "write a Graphviz graph to this file");

  CLI11_PARSE(app, argc, argv);
  if (app.got_subcommand("run")) return launch(spec);
  if (app.got_subcommand("perf")) return perf(perf_arguments, argc, argv);
  return show_topology(topo_options);
}
