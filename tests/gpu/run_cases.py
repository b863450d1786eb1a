#!/usr/bin/env python3
"""Runs the GPU tests in a fraction of the time that ctest takes for one after the other: groups of
cases side by side, on one or several GPUs, each case on one of them.

    ctest --test-dir build/dev -L cuda --show-only=json-v1 > cases.json
    tests/gpu/run_cases.py cases.json --gpus 2 --jobs 7

On a machine without the build tree, --programs names a folder that holds the test programs, and in
stand_in/ the library that some load; other libraries come by LD_LIBRARY_PATH. --spread N has the
ranks of every case on the first N GPUs (HFREDUCE_TEST_GPUS) instead. Run it without MPS.

A case that was cut, by --seconds or because its group took too long, is MISSING or HUNG: the GPU's
time was shared. Cases whose program failed although each of them was well are UNSOUND: it died at its
end, or the checker that it runs under (--under) found something. Run what is not OK again with --only
and --jobs 1. Exit status: 1 unless all are OK or skip.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

CASES_PER_GROUP = 6
GROUP_SECONDS = 280
# They count the GPU's free memory, so nothing runs beside them.
COUNTS_MEMORY = re.compile("Suspend|DeviceMemoryUse")
# Beside more of their kind the driver finds no room for their queues.
MANY_QUEUES = "CUDA_DEVICE_MAX_CONNECTIONS=32"
JOBS_OF_MANY_QUEUES = 2
RESULT = re.compile(r"\[\s+(OK|FAILED|SKIPPED) \] ([^\s,]+)(?:, where .*)? \(\d+ ms\)$")
STARTED = re.compile(r"\[ RUN      \] (\S+)$")


@dataclass
class Group:
    program: str
    environment: tuple
    library_path: str
    cases: list

    def name(self, case):
        words = [os.path.basename(self.program), case, *self.environment]
        return " ".join(words + [os.path.basename(self.library_path)] * bool(self.library_path))


def read_groups(file, programs, only):
    """Groups of cases that share a program and its environment, by phase: most, many queues, alone."""
    gathered = {}
    for test in json.load(file)["tests"]:
        values = {p["name"]: p["value"] for p in test.get("properties", [])}
        program, *arguments = test["command"]
        case = next(a for a in arguments if a.startswith("--gtest_filter=")).split("=", 1)[1]
        environment = tuple(values.get("ENVIRONMENT", []))
        library_path = "".join(values.get("ENVIRONMENT_MODIFICATION", [])).partition("path_list_prepend:")[2]
        if programs:
            program = os.path.join(programs, os.path.basename(program))
            library_path = library_path and os.path.join(programs, "stand_in")
            environment = tuple(e for e in environment if not e.startswith("HFREDUCE_RECORDER_DIR="))
        key = (program, environment, library_path)
        if only.search(Group(*key, []).name(case)):
            gathered.setdefault(key, []).append(case)
    phases = [[], [], []]
    for key, cases in gathered.items():
        alone = [c for c in cases if COUNTS_MEMORY.search(c)]
        phases[2] += [Group(*key, [c]) for c in alone]
        others = [c for c in cases if c not in alone]
        many = MANY_QUEUES in key[1]
        size = 1 if many else CASES_PER_GROUP
        phases[1 if many else 0] += [Group(*key, others[i : i + size]) for i in range(0, len(others), size)]
    return phases


class Runner:
    def __init__(self, options):
        self.options = options
        self.end = time.monotonic() + options.seconds
        self.results = {}  # by name: OK, SKIPPED, FAILED, HUNG, CRASHED or UNSOUND
        self.lock = threading.Lock()

    def run_phase(self, groups, jobs_per_gpu):
        waiting = list(reversed(groups))

        def work(gpu):
            while time.monotonic() < self.end:
                with self.lock:
                    if not waiting:
                        return
                    group = waiting.pop()
                self.run_group(group, gpu)

        gpus = self.options.gpus
        threads = [threading.Thread(target=work, args=(i % gpus,)) for i in range(jobs_per_gpu * gpus)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run_group(self, group, gpu):
        left = list(group.cases)
        while left and time.monotonic() < self.end:
            seen, started, status, text = self.run_program(group, left, gpu)
            cut = time.monotonic() >= self.end
            for case in started:
                if case not in seen and not cut:
                    seen[case] = "HUNG" if "\n[HUNG]" in text else "CRASHED"
            # A case that failed explains the program's exit status, but not that of a checker around it.
            explained = not self.options.under and set(seen.values()) - {"OK", "SKIPPED"}
            if status != 0 and not cut and not explained:
                seen = {case: "UNSOUND" if end == "OK" else end for case, end in seen.items()}
            with self.lock:
                for case, result in seen.items():
                    self.results[group.name(case)] = result
                if not started or set(seen.values()) - {"OK", "SKIPPED"}:
                    print(f"=== {group.name(':'.join(left))}\n{text}", flush=True)
            if not seen:
                return
            left = [case for case in left if case not in seen]

    def run_program(self, group, cases, gpu):
        """({case: result}, the cases that were started, the exit status, the output)"""
        environment = dict(os.environ, **dict(e.split("=", 1) for e in group.environment))
        if group.library_path:
            path = environment.get("LD_LIBRARY_PATH")
            environment["LD_LIBRARY_PATH"] = group.library_path + (f":{path}" if path else "")
        if self.options.spread:
            environment["HFREDUCE_TEST_GPUS"] = str(self.options.spread)
        else:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        process = subprocess.Popen(
            [*self.options.under, group.program, "--gtest_filter=" + ":".join(cases), "--gtest_color=no"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            text=True, errors="replace")  # fmt: skip
        hung = []

        def stop():
            hung.append(True)
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(max(0.1, min(GROUP_SECONDS, self.end - time.monotonic())), stop)
        timer.start()
        text, _ = process.communicate()
        timer.cancel()
        lines = text.splitlines()
        seen = {m.group(2): m.group(1) for m in map(RESULT.match, lines) if m}
        started = [m.group(1) for m in map(STARTED.match, lines) if m]
        return seen, started, process.returncode, text + ("\n[HUNG]\n" if hung else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=argparse.FileType(), help="what ctest --show-only=json-v1 printed")
    parser.add_argument("--gpus", type=int, default=1, help="cases are spread over the first so many (1)")
    parser.add_argument("--jobs", type=int, default=6, help="groups at a time on a GPU (6)")
    parser.add_argument("--seconds", type=float, default=3600, help="then what is left is given up (3600)")
    parser.add_argument("--spread", type=int, default=0, metavar="N", help="HFREDUCE_TEST_GPUS=N for every case")
    parser.add_argument("--programs", default="", metavar="DIR", help="where the test programs are")
    parser.add_argument("--under", type=shlex.split, default=[], metavar="COMMAND",
                        help="run the programs by it, as 'compute-sanitizer --error-exitcode 1'")  # fmt: skip
    parser.add_argument("--only", type=re.compile, default=re.compile(""), metavar="REGEX",
                        help="in 'program case VARIABLE=value ... library folder'")  # fmt: skip
    options = parser.parse_args()

    phases = read_groups(options.cases, options.programs, options.only)
    for program in {group.program for groups in phases for group in groups} | set(options.under[:1]):
        if shutil.which(program) is None:
            parser.error(f"{program} is no program: build it, or say by --programs or --under where it is")
    runner = Runner(options)
    began = time.monotonic()
    for groups, jobs in zip(phases, (options.jobs, min(options.jobs, JOBS_OF_MANY_QUEUES), 1)):
        runner.run_phase(groups, jobs)

    names = [group.name(case) for groups in phases for group in groups for case in group.cases]
    ends = {name: runner.results.get(name, "MISSING") for name in names}
    for name, end in ends.items():
        if end not in ("OK", "SKIPPED"):
            print(end, name)
    count = {end: list(ends.values()).count(end) for end in sorted(set(ends.values()))}
    print(f"{len(names)} cases in {time.monotonic() - began:.0f} s:", count)
    sys.exit(0 if names and set(count) <= {"OK", "SKIPPED"} else 1)


if __name__ == "__main__":
    main()
