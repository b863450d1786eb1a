#!/usr/bin/env python3
"""Times allreduce of CPU or GPU tensors in HFReduce and in its peers, on this machine, in one run.

The libraries take turns, round by round, so that all meet the same weather. Each is a program that
prints `size_bytes median_us min_us max_us` per size; other programs that do so join with --peer or
--rank-peer. See docs/benchmarks.md.
"""

import argparse
import dataclasses
import glob
import json
import os
import platform
import shlex
import sys

import launch
import libraries
import report

OURS = "hfreduce"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def add_variant_argument(parser):
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME=LIBRARY VARIABLE=VALUE ...'",
        help="a library once more, under another name and with these environment variables",
    )


def add_common_arguments(parser, sizes, rounds, batches):
    """What every comparison takes."""
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1, help="emulated nodes, joined by TCP")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--sizes", default=sizes, help="bytes; K, M, G: 1024s")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--batches", type=int, default=batches, help="per size and round")
    parser.add_argument("--libraries", default="", help="only these, e.g. hfreduce,ucc")
    parser.add_argument("--bin-dir", default="", help="where the allreduce_* programs are")
    parser.add_argument("--timeout", type=float, default=180, help="seconds for one program")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another program, which starts its ranks itself",
    )
    parser.add_argument(
        "--rank-peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another program, started once per rank with RANK and WORLD_SIZE",
    )
    add_variant_argument(parser)
    parser.add_argument(
        "--build",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="HFReduce's program again, with this file of libhfreduce in place of its own",
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write everything measured")


def check_common_arguments(parser, args):
    try:
        args.sizes = report.parse_sizes(args.sizes)
    except ValueError as error:
        parser.error(str(error))
    if len(set(args.sizes)) != len(args.sizes):
        parser.error("--sizes names a size twice")
    if args.nodes < 1 or args.ranks < args.nodes or args.ranks % args.nodes:
        parser.error("--ranks must be a positive multiple of --nodes")
    if args.rounds < 1 or args.batches < 1:
        parser.error("--rounds and --batches must be at least 1")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser, sizes="8,1K,64K,1M,16M,128M", rounds=5, batches=15)
    parser.add_argument("--device", choices=["host", "cuda"], default="host")
    parser.add_argument(
        "--blocking", action="store_true", help="GPU memory: wait for each operation"
    )
    parser.add_argument(
        "--memory",
        choices=["private", "shared"],
        default="private",
        help="shared: buffers from the library's own allocator, where it has one",
    )
    parser.add_argument("--in-place", action="store_true")
    parser.add_argument("--huge-pages", action="store_true", help="for private buffers")
    parser.add_argument("--congestion", default="", help="TCP congestion control, set meanwhile")
    parser.add_argument(
        "--cpus", default="", help="e.g. 0,1, or none; default: one per rank (GPU: none)"
    )
    args = parser.parse_args(argv)
    check_common_arguments(parser, args)
    if args.device == "cuda" and (args.memory != "private" or args.huge_pages):
        parser.error("--memory and --huge-pages are about host memory")
    if args.device == "host" and args.blocking:
        parser.error("--blocking is about GPU memory: calls on host memory always block")
    return args


def default_bin_dir():
    found = glob.glob(f"{ROOT}/build/bench/allreduce/allreduce_*")
    found += glob.glob(f"{ROOT}/build/*/bench/allreduce/allreduce_*")
    found = [path for path in found if os.access(path, os.X_OK) and os.path.isfile(path)]
    return os.path.dirname(max(found, key=os.path.getmtime)) if found else ""


def extra_programs(args):
    programs = []
    for text, per_rank in [(t, False) for t in args.peer] + [(t, True) for t in args.rank_peer]:
        name, equals, command = text.partition("=")
        if not name or not equals or not command:
            raise launch.RunFailed(f"'{text}' is not NAME=COMMAND")
        programs.append(launch.Program(name, shlex.split(command), per_rank))
    return programs


def variants(args, programs):
    """The programs that --variant makes of others."""
    made = []
    for text in args.variant:
        head, *settings = shlex.split(text)
        name, _, library = head.partition("=")
        of = [program for program in programs if program.name == library]
        if not name or not of or not all(setting.partition("=")[1] for setting in settings):
            raise launch.RunFailed(
                f"'{text}' is not 'NAME=LIBRARY VARIABLE=VALUE ...' of one of these libraries: "
                f"{', '.join(program.name for program in programs) or 'none'}"
            )
        env = dict(of[0].env, **dict(setting.split("=", 1) for setting in settings))
        made.append(dataclasses.replace(of[0], name=name, env=env, variant_of=library))
    return made


def build_names(args):
    return [text.partition("=")[0] for text in args.build]


def other_builds(args, programs):
    """HFReduce's program, once for each --build."""
    builds = []
    for text in args.build:
        name, equals, file = text.partition("=")
        if not name or not equals or not file:
            raise launch.RunFailed(f"'{text}' is not NAME=FILE")
        # The loader ignores what it cannot preload, and the program would measure its own library.
        if not is_shared_library(file):
            raise launch.RunFailed(f"--build {text}: {file} is no shared library")
        ours = [program for program in programs if program.name == "hfreduce"]
        if not ours:
            raise launch.RunFailed("--build needs HFReduce's program: build it")
        env = dict(ours[0].env, LD_PRELOAD=os.path.abspath(file))
        builds.append(dataclasses.replace(ours[0], name=name, env=env))
    return builds


def is_shared_library(path):
    """An ELF file of type ET_DYN."""
    try:
        with open(path, "rb") as file:
            head = file.read(18)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and int.from_bytes(head[16:18], sys.byteorder) == 3


def choose_programs(args, cluster):
    folder = args.bin_dir or default_bin_dir()
    extra = extra_programs(args)
    programs = [p for p in libraries.find_programs(folder, cluster) if folder] + extra
    programs += variants(args, programs) + other_builds(args, programs)
    programs = only_wanted(args, programs)
    if not programs:
        raise launch.RunFailed("no programs were found: build them, or say where with --bin-dir")
    return programs, folder


def only_wanted(args, programs):
    """Those that --libraries names; all of them, if it names none."""
    names = [program.name for program in programs]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise launch.RunFailed(f"two programs are called {', '.join(sorted(doubled))}")
    if args.libraries:
        wanted = args.libraries.split(",")
        absent = [name for name in wanted if name not in names]
        if absent:
            raise launch.RunFailed(
                f"{', '.join(absent)} was asked for; there are: {', '.join(names) or 'none'}"
            )
        programs = [program for program in programs if program.name in wanted]
    return programs


def program_arguments(args):
    cpus = args.cpus
    if not cpus and args.device == "cuda":
        cpus = "none"
    if not cpus:
        cpus = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))[: args.ranks])
    arguments = ["--sizes", ",".join(str(size) for size in args.sizes), "--dtype", args.dtype]
    arguments += ["--memory", args.memory, "--batches", str(args.batches)]
    arguments += [] if cpus == "none" else ["--cpus", cpus]
    arguments += ["--in-place"] if args.in_place else []
    arguments += ["--huge-pages"] if args.huge_pages else []
    arguments += ["--blocking"] if args.blocking else []
    return arguments


class Session:
    """All rounds of one comparison. parse(output, sizes): (what was measured, the version)."""

    def __init__(self, args, cluster, programs, arguments, parse):
        self.args = args
        self.cluster = cluster
        self.programs = programs
        self.arguments = arguments
        self.parse = parse
        self.rounds = []
        self.versions = {}
        self.unsupported = {}
        self.failures = []

    def run_rounds(self):
        """All rounds. Who is told to end meanwhile keeps the whole ones: there is a failure more."""
        for index in range(self.args.rounds):
            try:
                self.run_round(index)
            except (KeyboardInterrupt, SystemExit) as reason:
                if not self.rounds:
                    raise
                self.failures.append(
                    f"told to end ({reason or 'interrupted'}) after {index} of "
                    f"{self.args.rounds} rounds"
                )
                return

    def run_round(self, index):
        timings = {}
        turn = index % len(self.programs)
        for program in self.programs[turn:] + self.programs[:turn]:
            if program.name in self.unsupported:
                continue
            try:
                text = launch.run(program, self.cluster, self.arguments, self.args.timeout)
                timings[program.name], version = self.parse(text, self.args.sizes)
                self.versions.setdefault(program.name, version)
            except launch.Unsupported as error:
                self.unsupported[program.name] = str(error)
            except (launch.RunFailed, ValueError) as error:
                self.failures.append(f"round {index + 1}: {program.name}: {error}")
                print(f"# {self.failures[-1]}", file=sys.stderr)
        self.rounds.append(timings)
        print(f"# round {index + 1} of {self.args.rounds} done", file=sys.stderr)


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open(launch.CONGESTION_FILE) as file:
        congestion = file.read().strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "tcp_congestion_control": congestion,
        "load": os.getloadavg()[0],
    }


def print_preamble(session, facts, what):
    """Returns the names of the libraries that ran."""
    args = session.args
    print(
        f"Allreduce, sum, {args.dtype}, {args.ranks} ranks on {args.nodes} node(s), {what}, "
        f"{args.rounds} rounds of {args.batches} batches"
    )
    return print_machine_and_libraries(session, facts)


def print_machine_and_libraries(session, facts):
    """Returns the names of the libraries that ran."""
    names = [p.name for p in session.programs if any(p.name in one for one in session.rounds)]
    print(
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"TCP {facts['tcp_congestion_control']}, load {facts['load']:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after\n"
    )
    for name in names:
        print(f"- {name}: {session.versions[name]}")
    for name, why in session.unsupported.items():
        print(f"- {name}: left out, {why}")
    for failure in session.failures:
        print(f"- failed, {failure}")
    return names


def print_report(session, facts):
    args = session.args
    memory = f"{args.memory} memory"
    if args.device == "cuda":
        memory = f"GPU memory, waiting for {'each operation' if args.blocking else 'the batch'}"
    place = "in place" if args.in_place else "out of place"
    names = print_preamble(session, facts, f"{memory}, {place}")
    builds = [name for name in names if name in build_names(args)]
    ours = [p.name for p in session.programs if OURS in (p.name, p.variant_of)]
    peers = [name for name in names if name not in ours + builds]
    rows = report.compare(session.rounds, [OURS] + peers, args.sizes)
    if rows:
        print("\n" + report.comparison_table(rows))
    if builds:
        print("\nOther builds' time over HFReduce's, within each round:\n")
        print(report.builds_table(session.rounds, builds, args.sizes))
    print("\nMedian time per operation in us:\n")
    print(report.library_table(session.rounds, names, args.sizes))
    ours = [name for name in ours if name in names]
    if args.variant and ours and peers:
        print("\nA peer's time over HFReduce's, median (range) over the rounds:\n")
        print(report.ratio_table(session.rounds, ours, peers, args.sizes))
    return rows


def write_json(path, session, facts, rows):
    data = {
        "machine": facts,
        "options": vars(session.args),
        "versions": session.versions,
        "unsupported": session.unsupported,
        "failures": session.failures,
        "rounds": [
            {
                name: {str(size): dataclasses.asdict(t) for size, t in timings.items()}
                for name, timings in one.items()
            }
            for one in session.rounds
        ],
        "comparison": [dataclasses.asdict(row) for row in rows],
    }
    with open(path, "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


def main(argv):
    args = parse_arguments(argv)
    cluster = launch.Cluster(args.ranks, args.nodes, args.congestion, args.device)
    try:
        programs, folder = choose_programs(args, cluster)
        print(f"# programs: {folder or 'given'}", file=sys.stderr)
        with launch.signals_unwind(), launch.congestion_control(args.congestion):
            facts = machine()
            session = Session(
                args, cluster, programs, program_arguments(args), report.parse_output
            )
            session.run_rounds()
    except launch.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = print_report(session, facts)
    if args.json:
        write_json(args.json, session, facts, rows)
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
