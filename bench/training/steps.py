#!/usr/bin/env python3
"""Times a training step with gradients averaged by HFReduce and by its peers, on this machine.

Each rank is a process with a PyTorch model (train.py); libraries take turns, round by round. See
docs/benchmarks.md.
"""

import argparse
import dataclasses
import glob
import json
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "allreduce"))

import compare  # noqa: E402
import launch  # noqa: E402
import report  # noqa: E402


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="What else train.py takes (--layers, --width, ...) goes behind --.",
    )
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--libraries", default="", help="only these, e.g. hfreduce,nccl")
    compare.add_variant_argument(parser)
    parser.add_argument("--hfreduce-library", default="", help="libhfreduce.so; default: found")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one run")
    parser.add_argument("--json", default="", metavar="FILE", help="write everything measured")
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.ranks < 1 or args.rounds < 1:
        parser.error("--ranks and --rounds must be at least 1")
    return args


def default_library():
    root = os.path.dirname(os.path.dirname(HERE))
    found = glob.glob(f"{root}/build/src/capi/libhfreduce.so")
    found += glob.glob(f"{root}/build/*/src/capi/libhfreduce.so")
    return max(found, key=os.path.getmtime) if found else "libhfreduce.so"


def make_programs(args):
    command = [sys.executable, os.path.join(HERE, "train.py"), "--device", args.device, "--library"]
    ours = ["hfreduce", "--hfreduce-library", args.hfreduce_library or default_library()]
    peer = "nccl" if args.device == "cuda" else "gloo"
    programs = [
        launch.Program("hfreduce", command + ours, True),
        launch.Program(peer, command + [peer], True),
    ]
    programs += compare.variants(args, programs)
    return compare.only_wanted(args, programs)


@dataclasses.dataclass
class StepTiming:
    """One batch: microseconds of a step without averaging the gradients, and with it."""

    alone_us: float
    step_us: float


def parse_steps(text, _sizes):
    """([StepTiming], version) of train.py's standard output."""
    timings = []
    version = ""
    for line in text.splitlines():
        if line.startswith("#"):
            version = version or line[1:].strip()
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        if len(values) != 2 or not all(value > 0 for value in values):
            raise ValueError(f"'{line}' is not 'alone_us step_us'")
        timings.append(StepTiming(*values))
    if not timings:
        raise ValueError("no batch was printed")
    return timings, version


@dataclasses.dataclass
class StepRow:
    """One library over the batches of all rounds. slowdown: (median, least, most) of a batch's step
    over its step without averaging."""

    library: str
    alone_us: float
    step_us: float
    slowdown: tuple


def step_rows(rounds, libraries):
    rows = []
    for library in libraries:
        batches = [batch for one in rounds if library in one for batch in one[library]]
        slowdowns = [batch.step_us / batch.alone_us for batch in batches]
        rows.append(
            StepRow(
                library,
                statistics.median(batch.alone_us for batch in batches),
                statistics.median(batch.step_us for batch in batches),
                (statistics.median(slowdowns), min(slowdowns), max(slowdowns)),
            )
        )
    return rows


def step_table(rows):
    def percent(ratio):
        return f"{(ratio - 1) * 100:+.1f} %"

    lines = [
        [
            row.library,
            f"{row.alone_us / 1e3:.2f}",
            f"{row.step_us / 1e3:.2f}",
            percent(row.slowdown[0]),
            " to ".join(percent(ratio) for ratio in row.slowdown[1:]),
        ]
        for row in rows
    ]
    header = ["library", "step without averaging ms", "step ms", "longer by", "range"]
    return report.markdown(header, lines)


def write_json(path, session, facts, rows):
    data = {
        "machine": facts,
        "options": vars(session.args),
        "versions": session.versions,
        "unsupported": session.unsupported,
        "failures": session.failures,
        "rounds": [
            {name: [dataclasses.asdict(t) for t in batches] for name, batches in one.items()}
            for one in session.rounds
        ],
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    with open(path, "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


def main(argv):
    args = parse_arguments(argv)
    args.sizes = []
    cluster = launch.Cluster(args.ranks, 1, device=args.device)
    try:
        programs = make_programs(args)
        with launch.signals_unwind():
            facts = compare.machine()
            session = compare.Session(args, cluster, programs, args.more, parse_steps)
            session.run_rounds()
    except launch.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Training steps, {args.ranks} ranks, {' '.join(args.more) or 'as it comes'}")
    names = compare.print_machine_and_libraries(session, facts)
    rows = step_rows(session.rounds, names)
    print("\n" + step_table(rows))
    if args.json:
        write_json(args.json, session, facts, rows)
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
