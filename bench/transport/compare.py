#!/usr/bin/env python3
"""Times puts through the Transport port beside what is under them, in one run: TCP beside a bare socket, verbs beside
perftest (ib_write_lat, ib_write_bw) on the same devices, with the same sizes, counts and queue depth.

The two take turns, round by round, one size after the other, so that both meet the same weather. See docs/benchmarks.md.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench", "allreduce"))
import report  # noqa: E402

UNITS = {"latency": "us", "bandwidth": "MB/s"}
PEERS = {"loopback": None, "tcp": "bare socket", "verbs": "perftest"}


class RunFailed(Exception):
    """A program failed, hung or printed something else; the text says which."""


class NoClock(Exception):
    """perftest could not tell how fast the processor's counter runs, as it happens in an emulated machine, and printed
    inf: run it again."""


CLOCK_ATTEMPTS = 10


@dataclass
class Case:
    """One measurement, the same for both programs."""

    measure: str  # latency, bandwidth
    bytes: int
    count: int  # messages, or round trips
    depth: int


def parse_ours(text, case):
    """Microseconds, or megabytes (1e6) a second, of `bytes messages value`."""
    words = text.split()
    if len(words) != 3 or words[:2] != [str(case.bytes), str(case.count)] or not float(words[2]) > 0:
        raise RunFailed(f"transport_bench printed '{text.strip()}', not '{case.bytes} {case.count} VALUE'")
    return float(words[2])


def parse_perftest(text, case):
    """The same of the table that ib_write_lat or ib_write_bw prints.

    Latency: t_typical, the median of half a round trip. Bandwidth: of long messages from the average MB/s (of 2^20 bytes),
    of short ones from the message rate (1e6 a second), whichever is printed with more digits.
    """
    row = re.compile(rf"^\s*{case.bytes}\s+\d+((?:\s+(?:[0-9.]+|-?inf|-?nan))+)\s*$")
    rows = [match[1].split() for match in map(row.match, text.splitlines()) if match]
    if len(rows) != 1 or len(rows[0]) < 3:
        raise RunFailed(f"no row for {case.bytes} bytes in perftest's output:\n{text}")
    if "inf" in rows[0]:
        raise NoClock()
    if case.measure == "latency":
        return float(rows[0][2])
    if len(rows[0]) != 3:
        raise RunFailed(f"perftest's table has unknown columns:\n{text}")
    return float(rows[0][2]) * case.bytes if case.bytes < 1024 else float(rows[0][1]) * (1 << 20) / 1e6


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_listener(port, process, deadline):
    """Returns when somebody listens on `port`, or `process` ended. Connecting to see would end perftest's server."""
    wanted = f":{port:04X}"
    while process.poll() is None and time.monotonic() < deadline:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if os.path.exists(table):
                with open(table) as file:
                    if any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in file):
                        return
        time.sleep(0.01)


def run_ours(args, link, case):
    command = [args.program, "--link", link, "--measure", case.measure, "--size", str(case.bytes)]
    command += ["--count", str(case.count), "--depth", str(case.depth), "--host", args.host]
    command += ["--cpus", args.cpus] if args.cpus else []
    if link == "verbs":
        command += ["--devices", args.devices]
        command += ["--gid-index", str(args.gid_index)] if args.gid_index >= 0 else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{' '.join(command)}: no end within {args.timeout} s") from None
    if done.returncode != 0:
        raise RunFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return parse_ours(done.stdout, case)


def run_perftest(args, case):
    program = "ib_write_lat" if case.measure == "latency" else "ib_write_bw"
    port = free_port()
    commands = []
    for side, device in enumerate(reversed(args.devices.split(","))):  # the server first
        name, _, device_port = device.partition(":")
        command = ["taskset", "-c", args.cpus.split(",")[1 - side]] if args.cpus else []
        command += [program, "-F", "-d", name, "-p", str(port), "-s", str(case.bytes), "-n", str(case.count)]
        command += ["-i", device_port] if device_port else []
        command += ["-x", str(args.gid_index)] if args.gid_index >= 0 else []
        command += ["-t", str(case.depth)] if case.measure == "bandwidth" else []
        commands.append(command)
    commands[1].append(args.host)
    deadline = time.monotonic() + args.timeout
    server = subprocess.Popen(commands[0], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for_listener(port, server, deadline)
        client = subprocess.run(commands[1], capture_output=True, text=True, timeout=args.timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{' '.join(commands[1])}: no end within {args.timeout} s") from None
    finally:
        server.kill()
        server.communicate()
    if client.returncode != 0:
        raise RunFailed(f"{' '.join(commands[1])} ended with {client.returncode}:\n{client.stdout}{client.stderr}")
    return parse_perftest(client.stdout, case)


def run_peer(args, case):
    if args.link != "verbs":
        return run_ours(args, "sockets", case)
    for _ in range(CLOCK_ATTEMPTS):
        try:
            return run_perftest(args, case)
        except NoClock:
            pass
    raise RunFailed(f"perftest found no clock in {CLOCK_ATTEMPTS} runs")


def cases(args):
    """Latency and bandwidth of each size; so many messages that a measurement moves about --bytes."""
    for measure in args.measures:
        for size in args.sizes:
            count = max(args.least, min(args.most, args.bytes // size))
            yield Case(measure, size, count, min(args.depth, count))


def run_rounds(args):
    """[(case, [ours], [the peer's])], each list by round."""
    results = [(case, [], []) for case in cases(args)]
    for index in range(args.rounds):
        for case, ours, peers in results:
            turns = [(ours, lambda: run_ours(args, args.link, case))]
            if PEERS[args.link]:
                turns.append((peers, lambda: run_peer(args, case)))
            for values, run in turns[:: -1 if index % 2 else 1]:
                values.append(run())
    return results


def table(results, link):
    """Medians over the rounds. The ratio is ours over the peer's within each round: below 1 is better for latency, above
    1 for bandwidth."""
    peer_name = PEERS[link]
    lines = []
    for case, ours, peers in results:
        unit = UNITS[case.measure]
        line = [report.format_size(case.bytes), case.measure, f"{statistics.median(ours):.2f} {unit}"]
        line.append(f"{min(ours):.2f}-{max(ours):.2f}")
        if peer_name:
            ratios = [mine / theirs for mine, theirs in zip(ours, peers)]
            line += [f"{statistics.median(peers):.2f}", f"{min(peers):.2f}-{max(peers):.2f}"]
            line += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"]
        lines.append(line)
    header = ["bytes", "measure", f"{link}", "range"]
    header += [peer_name, "range", "ratio", "range"] if peer_name else []
    return report.markdown(header, lines)


def find_program():
    for folder in ("build", "build/dev", "build/ci", "build/release"):
        path = os.path.join(ROOT, folder, "bench", "transport", "transport_bench")
        if os.access(path, os.X_OK):
            return path
    return ""


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--link", choices=sorted(PEERS), default="tcp")
    parser.add_argument("--sizes", default="8,4K,64K,1M", help="bytes; K, M, G: 1024s")
    parser.add_argument("--measures", default="latency,bandwidth")
    parser.add_argument("--depth", type=int, default=64, help="messages under way, for bandwidth")
    parser.add_argument("--bytes", default="256M", help="moved in one measurement")
    parser.add_argument("--least", type=int, default=100, help="messages, however long")
    parser.add_argument("--most", type=int, default=10000, help="messages, however short")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", default="", help="verbs: both sides', NAME[:PORT],NAME[:PORT]")
    parser.add_argument("--gid-index", type=int, default=-1, help="verbs: -1 leaves the choice to both")
    parser.add_argument("--host", default="127.0.0.1", help="TCP address of both sides")
    parser.add_argument("--cpus", default="", help="of the two sides, e.g. 0,1")
    parser.add_argument("--program", default=find_program(), help="transport_bench")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one measurement")
    parser.add_argument("--json", default="", metavar="FILE", help="write everything measured")
    args = parser.parse_args(argv)
    try:
        args.sizes = report.parse_sizes(args.sizes)
        args.bytes = report.parse_size(args.bytes)
    except ValueError as error:
        parser.error(str(error))
    args.measures = args.measures.split(",")
    if not set(args.measures) <= set(UNITS):
        parser.error("--measures are latency and bandwidth")
    if min(args.depth, args.rounds) < 1 or args.least < 5 or args.most < args.least:
        parser.error("--depth and --rounds are at least 1, --least 5, --most no less than --least")
    if args.link == "verbs" and args.devices.count(",") != 1:
        parser.error("--link verbs needs --devices A,B: the same twice for one device against itself")
    if args.cpus and args.cpus.count(",") != 1:
        parser.error("--cpus names one for each side, e.g. 0,1")
    if not args.program:
        parser.error("transport_bench was not found: build it, or say where with --program")
    return args


def main(argv):
    args = parse_arguments(argv)
    if args.link == "verbs" and not shutil.which("ib_write_bw"):
        print("error: ib_write_bw is not installed (package perftest)", file=sys.stderr)
        return 1
    load = os.getloadavg()[0]
    try:
        results = run_rounds(args)
    except RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.rounds} rounds, depth {args.depth}, load before {load:.1f}\n")
    print(table(results, args.link))
    if args.json:
        with open(args.json, "w") as file:
            rows = [dict(vars(case), ours=ours, peer=peers) for case, ours, peers in results]
            json.dump({"link": args.link, "peer": PEERS[args.link], "results": rows}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
