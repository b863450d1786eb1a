#!/usr/bin/env python3
"""The chaos test: strikes real jobs of the library with faults that are drawn from a seed, and judges how every rank ends (docs/chaos.md).

  chaos.py --program build/dev/tests/chaos/chaos_rank --minutes 60     # or --trials 200
  chaos.py --program ... --seed 7 --trial 123                          # that one again
  chaos.py --program ... --replay FOLDER/trial.json                    # as it was drawn, wherever

The exit status is 0 when every trial ended as it may, 1 when one did not, 2 when nothing can be run."""
import argparse
import collections
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import machine
from job import Job
from trial import KINDS, Trial, draw_trial

CHANGES = ["shrinks", "growths", "suspends"]
OUTCOMES = ["right sum", "went on", "named error", "FAILED"]
SPOILED = {  # what rank.cc does wrong: what the driver must say
    "sum": "wrong sums", "hang": "hangs", "crash": "died by SIGABRT", "mute": "without a sentence", "descriptor": "left behind: descriptor",
    "process": "was left behind",
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="chaos_rank of the build to be tested")
    parser.add_argument("--command", help="the hfreduce command: `inspect` must then be able to read what failed jobs leave")
    parser.add_argument("--seed", type=int, default=1, help="the trials are drawn from it (default 1)")
    parser.add_argument("--minutes", type=float, default=0, help="begin no trial after so long")
    parser.add_argument("--trials", type=int, default=0, help="so many trials at most")
    parser.add_argument("--trial", type=int, help="only the trial of this number")
    parser.add_argument("--replay", nargs="+", metavar="FILE", help="only the trials in these files")
    parser.add_argument("--times", type=int, default=1, help="how often to run --trial, or each of --replay")
    parser.add_argument("--only", help="kinds of faults to draw from, with commas between; of: " + " ".join(KINDS))
    parser.add_argument("--jobs", type=int, default=2, help="trials that run at a time (default 2)")
    parser.add_argument("--margin", type=float, default=20, help="seconds past a call's promise that tell a hang from a slow machine")
    parser.add_argument("--keep", default=None, help="folder for what failed trials leave (default: a new one)")
    parser.add_argument("--verbose", action="store_true", help="a line for every trial")
    parser.add_argument("--self-test", action="store_true", help="spoiled ranks must be found out")
    return parser.parse_args()


def run_one(trial, options, folder, spoil=None):
    """A trial in its own folder, which stays only when it failed."""
    place = os.path.join(folder, "trial-" + trial.name.replace(":", "-"))
    shutil.rmtree(place, ignore_errors=True)
    os.mkdir(place)
    job = Job(trial, options.program, place, options.margin, spoil)
    began = time.monotonic()
    try:
        outcome = job.run()
        problem = inspect(options.command, job.records) if options.command else None
        if problem:
            job.problems.append(problem)
            outcome = "FAILED"
    finally:
        job.close()
    result = {
        "name": trial.name, "outcome": outcome, "problems": job.problems, "seconds": time.monotonic() - began, "folder": place,
        "faults": [[strike.fault.kind, strike.state == "done"] for strike in job.strikes],
        "ranks": trial.num_ranks, "steps": sum(rank.report.get("steps", 0) for rank in job.ranks),
        "changes": [sum(rank.report.get(what, 0) > 0 for rank in job.ranks) for what in CHANGES],
        "statuses": [rank.report["status"] for rank in job.ranks if rank.report.get("outcome") == "error"],
        "latest_ms": max((rank.report["latest_ms"] for rank in job.ranks if "latest_ms" in rank.report and not rank.was_stopped), default=None),
    }
    if outcome == "FAILED":
        with open(os.path.join(place, "result.json"), "w", encoding="utf-8") as file:
            json.dump({**result, "reports": [rank.report for rank in job.ranks]}, file, indent=1)
    else:
        shutil.rmtree(place, ignore_errors=True)
    return result


def has_begun(record):
    """A rank that is killed as it makes its record leaves nothing but zeros."""
    with open(record, "rb") as file:
        return any(file.read(64))


def inspect(command, records):
    """Records of dead and failed ranks can be read: `hfreduce inspect` says what it found, or that all is well."""
    if not os.path.isdir(records) or not any(map(has_begun, glob.glob(os.path.join(records, "*.record")))):
        return None
    done = subprocess.run([command, "inspect", "--json", records], capture_output=True, text=True, check=False, timeout=120)
    try:
        json.loads(done.stdout)
    except ValueError:
        return f"hfreduce inspect printed no JSON, exit status {done.returncode}: {done.stderr[-300:]}"
    return None if done.returncode in (0, 1) else f"hfreduce inspect ended with status {done.returncode}: {done.stderr[-300:]}"


def work(worker, options, can, folder, until, out):
    """The trials of one of --jobs processes: every so-manieth one. Results go down a pipe, a line each."""
    machine.die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(1))
    machine.adopt_orphans()
    if can("disk_full"):
        machine.private_mounts()
    only = options.only.split(",") if options.only else None
    number = worker
    while (not options.trials or number < options.trials) and (until is None or time.monotonic() < until):
        result = run_one(draw_trial(options.seed, number, can, only), options, folder)
        os.write(out, (json.dumps(result) + "\n").encode())
        number += options.jobs


def run_many(options, can, folder, report):
    until = time.monotonic() + options.minutes * 60 if options.minutes else None
    workers, pipes = [], {}
    for worker in range(options.jobs):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(worker, options, can, folder, until, write_end)
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        os.close(write_end)
        workers.append(pid)
        pipes[read_end] = b""
    while pipes:
        for fd in select.select(list(pipes), [], [])[0]:
            data = os.read(fd, 65536)
            if not data:
                os.close(fd)
                del pipes[fd]
                continue
            *lines, pipes[fd] = (pipes[fd] + data).split(b"\n")
            for line in lines:
                report.add(json.loads(line))
    return all([os.waitpid(pid, 0)[1] == 0 for pid in workers])  # a list: all are waited for


def run_again(options, can, folder, report):
    machine.adopt_orphans()
    if can("disk_full"):
        machine.private_mounts()
    trials = []
    for path in options.replay or []:
        with open(path, encoding="utf-8") as file:
            trials.append(Trial.from_dict(json.load(file)))
    if options.trial is not None:
        trials.append(draw_trial(options.seed, options.trial, can, options.only.split(",") if options.only else None))
    for trial in trials:
        if not all(can(fault.kind) for fault in trial.faults):
            print(f"{trial.name}: left out on this machine")
            continue
        for _ in range(options.times):
            # A folder of its own, not the one that is replayed from.
            report.add(run_one(trial, options, tempfile.mkdtemp(prefix="again-", dir=folder)))
    return True


class Report:
    def __init__(self, options):
        self._options = options
        self.results = []

    def add(self, result):
        self.results.append(result)
        if result["outcome"] != "FAILED":
            if self._options.verbose:
                faults = ", ".join(kind + ("" if struck else " (not reached)") for kind, struck in result["faults"]) or "no fault"
                print(f"{result['name']}: {result['outcome']} after {result['seconds']:.1f} s; {result['ranks']} ranks; {faults}", flush=True)
            return
        print(f"{result['name']} FAILED ({', '.join(kind for kind, _ in result['faults']) or 'no fault'}): {'; '.join(result['problems'])}")
        print(f"  again: {sys.argv[0]} --program {self._options.program} --replay {result['folder']}/trial.json", flush=True)

    def print(self, missing):
        """Of each kind: how many struck, and how the trials ended that they struck in; a trial with two kinds counts in both rows."""
        rows = collections.defaultdict(collections.Counter)
        for result in self.results:
            kinds = result["faults"] or [["none", True]]
            for kind, struck in kinds:
                rows[kind]["faults" if struck else "not reached"] += 1
            for kind in {kind for kind, struck in kinds if struck}:
                rows[kind][result["outcome"]] += 1
        columns = ["faults", "not reached"] + OUTCOMES
        print(f"{'kind':16}" + "".join(f"{column:>13}" for column in columns) + "  what")
        for kind in [*KINDS, "none"]:
            if kind in rows:
                print(f"{kind:16}" + "".join(f"{rows[kind][column]:13}" for column in columns) + "  "
                      + (KINDS[kind].text if kind in KINDS else "control: no fault at all"))
        total = collections.Counter(result["outcome"] for result in self.results)
        print(f"{'trials':16}" + f"{'':26}" + "".join(f"{total[outcome]:13}" for outcome in OUTCOMES))
        statuses = collections.Counter(status for result in self.results for status in result["statuses"])
        latest = [result["latest_ms"] for result in self.results if result["latest_ms"] is not None]
        print(f"{len(self.results)} trials, {sum(r['ranks'] for r in self.results)} ranks, {sum(r['steps'] for r in self.results)} steps with "
              f"right sums; statuses of ranks that ended with an error: {dict(sorted(statuses.items()))}")
        counts = [sum(result["changes"][idx] > 0 for result in self.results) for idx in range(len(CHANGES))]
        print("trials in which ranks shrank, grew, suspended and resumed: " + ", ".join(str(count) for count in counts))
        if latest:
            print(f"the call that came back latest: {max(latest)} ms past its promise (below 0: before)")
        for name, why in missing.items():
            kinds = [kind for kind in KINDS if KINDS[kind].needs == name]
            print(f"left out on this machine: {', '.join(kinds)}: {why}")


def self_test(options, can, folder):
    """A driver that finds nothing proves nothing: every way of spoiling ranks must be found, on a job without a fault."""
    machine.adopt_orphans()
    options.margin = 1.0
    well = True
    for spoil, words in SPOILED.items():
        trial = draw_trial(1, 0, can, ["locked_memory"])
        trial.timeout_ms, trial.new_nodes = 1_000 if spoil == "hang" else 60_000, []
        trial.program = {**trial.program, "lives": 1, "suspend": "", "grow": ""}
        trial.name = "self-test:" + spoil
        result = run_one(trial, options, folder, spoil)
        found = result["outcome"] == "FAILED" and any(words in problem for problem in result["problems"])
        print(f"{spoil}: {'found' if found else 'NOT FOUND'}: {result['outcome']}: {'; '.join(result['problems'])}")
        well = well and found
    return well


def main():
    options = parse()
    options.program = os.path.abspath(options.program)
    if not os.access(options.program, os.X_OK):
        print(f"{options.program} cannot be run", file=sys.stderr)
        return 2
    unknown = set(options.only.split(",")) - set(KINDS) if options.only else ()
    if unknown:
        print(f"no such kind: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    missing = {name: why for name, why in machine.abilities().items() if why}

    def can(kind):
        return KINDS[kind].needs not in missing
    folder = os.path.abspath(options.keep) if options.keep else tempfile.mkdtemp(prefix="chaos-")
    os.makedirs(folder, exist_ok=True)
    if options.self_test:
        well = self_test(options, can, folder)
        shutil.rmtree(folder, ignore_errors=True)
        return 0 if well else 1
    report = Report(options)
    if options.replay or options.trial is not None:
        well = run_again(options, can, folder, report)
    else:
        if not options.minutes and not options.trials:
            options.trials = 100
        try:
            well = run_many(options, can, folder, report)
        except KeyboardInterrupt:  # SIGTERM, too
            print("ended early; the trials that were running are lost")
            well = False
    report.print(missing)
    failed = any(result["outcome"] == "FAILED" for result in report.results)
    if not failed:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what failed trials left: {folder}")
    return 1 if failed or not well or not report.results else 0


if __name__ == "__main__":
    sys.exit(main())
