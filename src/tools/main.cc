// The `hfreduce` command: run, perf, topo, sim, doctor, inspect, trace.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tools/command_line.hpp"
#include "tools/doctor_machine.hpp"
#include "tools/doctor_net.hpp"
#include "tools/inspect.hpp"
#include "tools/launch.hpp"
#include "tools/perf_command.hpp"
#include "tools/sim.hpp"
#include "tools/topo.hpp"
#include "tools/trace_merge.hpp"

int main(int argc, char** argv) {
  using namespace hfr::tools;
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

  auto run_perf_command = add_perf_command(app);

  TopoOptions topo_options;
  CLI::App* topo = app.add_subcommand("topo", "Show what was found, and how a job would lie on it");
  topo->add_option("--nodes", topo_options.nodes, "nodes of the job")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  topo->add_option("--ranks-per-node", topo_options.ranks_per_node, "ranks of each")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  topo->add_option("--window", topo_options.window, "lanes; 0: what the library would choose")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  topo->add_option("--bytes", topo_options.message_bytes, "message whose trees are shown")
      ->transform(size_validator())
      ->capture_default_str();
  topo->add_option("--svg", topo_options.svg_file, "write a drawing to this file");
  topo->add_option("--dot", topo_options.dot_file, "write a Graphviz graph to this file");
  topo->add_option("--cluster", topo_options.cluster_file,
                   "measure this machine, and write it to this file for hfreduce sim");

  SimOptions sim_options;
  CLI::App* sim = app.add_subcommand("sim", "Simulate an all-reduce on a cluster");
  sim->add_option("--cluster", sim_options.cluster_file, "a file that describes the cluster")
      ->required();
  sim->add_option("--gpus", sim_options.gpus,
                  "how many GPUs (ranks, in host memory): 16, 16,32,64 or 16..1440 in doublings")
      ->required();
  sim->add_option("--size", sim_options.bytes, "bytes of float32 to sum")
      ->transform(size_validator())
      ->capture_default_str();
  sim->add_option("--tensors", sim_options.tensors, "equal parts, all started at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  sim->add_option("--scatter", sim_options.scatter_seed,
                  "seed: nodes are at random places of the fabric; 0: side by side")
      ->capture_default_str();
  sim->add_option("--fault", sim_options.faults,
                  "KIND:WHERE@TIME[+DURATION], as kill:17@2ms, cut:any@any+500us, slow*4:17@0; "
                  "several times for several");
  sim->add_option("--seed", sim_options.fault_seed, "for what --fault leaves open with any")
      ->capture_default_str();
  sim->add_option("--json", sim_options.json_file, "write results to this file");
  sim->add_option("--svg", sim_options.svg_file, "write a plot to this file");
  sim->add_option("--trace", sim_options.trace_file,
                  "write a trace for Perfetto to this file; needs one number of GPUs");
  sim->add_option("--trace-ranks", sim_options.trace_ranks, "ranks in the trace, from 0 on")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();

  CLI::App* doctor = app.add_subcommand("doctor", "Look for what is wrong with this machine");
  doctor->require_subcommand(0, 1);
  DoctorMachineOptions machine_options;
  doctor->add_flag("--json", machine_options.json, "print JSON");
  doctor->add_flag("!--no-measure", machine_options.measure, "measure nothing");
  DoctorNetOptions net_options;
  CLI::App* net = doctor->add_subcommand("net", "Links between machines: state, choice, speed");
  net->add_flag("--json", net_options.json, "print JSON");
  net->add_flag("!--no-measure", net_options.measure, "do not time the links");

  InspectOptions inspect_options;
  CLI::App* look = app.add_subcommand("inspect", "Say who holds a job up, from the ranks' records");
  look->add_option("path", inspect_options.paths,
                   "folders and files with records; default: this machine's");
  look->add_flag("--json", inspect_options.json, "print JSON");
  look->add_option("--save", inspect_options.save_folder,
                   "copy the records to this folder, to bring those of several hosts together");
  CLI::App* trace = app.add_subcommand("trace", "What to do with the files of HFREDUCE_TRACE");
  trace->require_subcommand(1);
  TraceMergeOptions merge_options;
  CLI::App* merge = trace->add_subcommand("merge", "Put all ranks' files into one");
  merge->add_option("-o,--output", merge_options.output, "the file to write")->required();
  merge->add_option("files", merge_options.files, "the ranks' files")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    return app.exit(wrong) == 0 ? 0 : kBadOptions;  // 0: help was asked for
  }
  if (app.got_subcommand(run)) return launch(spec);
  if (doctor->got_subcommand(net)) return doctor_net(net_options);
  if (app.got_subcommand(look)) return inspect(inspect_options);
  if (app.got_subcommand(doctor)) return doctor_machine(machine_options);
  if (trace->got_subcommand(merge)) return merge_trace_files(merge_options);
  if (app.got_subcommand(sim)) return simulate_cluster(sim_options);
  if (app.got_subcommand(topo)) return show_topology(topo_options);
  return run_perf_command(std::vector<std::string>(argv + 1, argv + argc));
}
