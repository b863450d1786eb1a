#!/usr/bin/env python3
"""Times allreduce of GPU tensors beside a stream of matrix products: what each costs the other.

For HFReduce and NCCL, which take turns, round by round. The first rank on each GPU also runs the
products. See docs/benchmarks.md.
"""

import argparse
import dataclasses
import json
import sys

import compare
import launch
import report


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    compare.add_common_arguments(parser, sizes="64M", rounds=3, batches=5)
    parser.add_argument("--gemm", type=int, default=8192, help="rows of the square matrices")
    args = parser.parse_args(argv)
    compare.check_common_arguments(parser, args)
    if args.gemm < 1:
        parser.error("--gemm must be at least 1")
    return args


def program_arguments(args):
    sizes = ",".join(str(size) for size in args.sizes)
    arguments = ["--sizes", sizes, "--dtype", args.dtype]
    return arguments + ["--batches", str(args.batches), "--gemm", str(args.gemm)]


def write_json(path, session, facts, rows):
    data = {
        "machine": facts,
        "options": vars(session.args),
        "versions": session.versions,
        "failures": session.failures,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    with open(path, "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


def main(argv):
    args = parse_arguments(argv)
    cluster = launch.Cluster(args.ranks, args.nodes, device="cuda")
    try:
        programs, folder = compare.choose_programs(args, cluster)
        print(f"# programs: {folder or 'given'}", file=sys.stderr)
        with launch.signals_unwind():
            facts = compare.machine()
            session = compare.Session(
                args, cluster, programs, program_arguments(args), report.parse_overlap
            )
            session.run_rounds()
    except launch.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = compare.print_preamble(
        session, facts, f"GPU memory, beside bfloat16 products of {args.gemm} rows"
    )
    rows = report.overlap_rows(session.rounds, names, args.sizes)
    print("\n" + report.overlap_table(rows))
    if args.json:
        write_json(args.json, session, facts, rows)
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
