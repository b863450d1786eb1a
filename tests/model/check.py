#!/usr/bin/env python3
"""Checks slots.pml for one train of chunks with spin, in every order in which things can happen.

usage: check.py MODEL_TRAIN EXPECTED DEFINES NODES KIND...
  MODEL_TRAIN  the program that prints the train
  EXPECTED     holds, or what must be found: wrong_result, stuck, second_writer, overtaken
  DEFINES      of slots.pml, e.g. BREAKS=1,BLIND

Exits 0 when the outcome is the expected one, 1 when not, 77 when spin or a C compiler is missing.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
EXIT_SKIP = 77
MEMORY_MIB = 2000
MOST_STEPS = 10_000  # of one run

# What spin's checker says first.
FINDINGS = {
    "wrong_result": r"pan:\d+: assertion violated \(memory",
    "stuck": r"pan:\d+: invalid end state",
    "second_writer": r"pan:\d+: assertion violated \(\(writer",
    "overtaken": r"pan:\d+: assertion violated \(put_state",
}


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def outcome(text):
    """holds, one of FINDINGS, or None when spin's output is neither."""
    for name, sign in FINDINGS.items():
        if re.search(sign, text):
            return name
    unfinished = "Search not completed" in text or "too small" in text
    return "holds" if "errors: 0" in text and not unfinished else None


def check(train, defines, compiler, folder):
    code, model = run(train, folder)
    if code != 0:
        return None, model
    with open(os.path.join(folder, "train.pml"), "w") as file:
        file.write(model)
    shutil.copy(os.path.join(HERE, "slots.pml"), folder)
    for command in (
        ["spin", "-a"] + [f"-D{name}" for name in defines] + ["train.pml"],
        [compiler, "-O1", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c"],
    ):
        code, text = run(command, folder)
        if code != 0:
            return None, text
    code, text = run(["./pan", f"-m{MOST_STEPS}", "-n"], folder)
    found = outcome(text) if code == 0 else None
    if found not in (None, "holds"):
        # The run that goes wrong, step by step.
        text += run(["spin"] + [f"-D{name}" for name in defines] + ["-t", "-p", "train.pml"], folder)[1]
    return found, text


def main():
    if len(sys.argv) < 6:
        print(__doc__)
        return 2
    program, expected, defines, *train = sys.argv[1:]
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not shutil.which("spin") or compiler is None:
        print("skipped: spin or a C compiler is not installed (scripts/install-deps.sh --ci)")
        return EXIT_SKIP
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        found, text = check([program] + train, defines.split(","), compiler, folder)
    states = re.search(r"(\d+) states, stored", text)
    if found == expected:
        print(f"{found}, {states.group(1)} states")
        return 0
    print(f"{expected} was expected, this came: {found}\n{text}")
    return 1


sys.exit(main())
