"""Runs of run_cases.py over a scripted test program."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

RUN_CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run_cases.py")
# Says what a GoogleTest program says; a case is called by what becomes of it.
PROGRAM = """#!/usr/bin/env python3
import os, sys, time
for case in sys.argv[1].split("=", 1)[1].split(":"):
    print("[ RUN      ] " + case, flush=True)
    if "Crashes" in case: os.abort()
    if "Hangs" in case: time.sleep(1000)
    bad = "Fails" in case or ("ByVariable" in case and os.environ.get("WHO") != "me")
    word = "    FAILED" if bad else "    SKIPPED" if "Skips" in case else "        OK"
    end = ", where GetParam() = 1" if bad else ""
    print("[" + word[-9:].rjust(9) + " ] " + case + end + " (3 ms)", flush=True)
print("gpu " + os.environ.get("CUDA_VISIBLE_DEVICES", "any") + " of " + os.environ.get("HFREDUCE_TEST_GPUS", "1"))
sys.exit(3 if "DiesAtItsEnd" in sys.argv[1] else 1 if "Fails" in sys.argv[1] else 0)
"""


class RunCases(unittest.TestCase):
    def run_cases(self, cases, *options, environment=()):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "scripted_test")
            with open(program, "w") as file:
                file.write(PROGRAM)
            os.chmod(program, 0o755)
            tests = [
                {
                    "command": [program, f"--gtest_filter={case}", "--gtest_also_run_disabled_tests"],
                    "properties": [{"name": "ENVIRONMENT", "value": list(environment)}],
                }
                for case in cases
            ]
            listed = os.path.join(folder, "cases.json")
            with open(listed, "w") as file:
                json.dump({"tests": tests}, file)
            done = subprocess.run(
                [sys.executable, RUN_CASES, listed, *options], capture_output=True, text=True, timeout=120
            )
        return done.returncode, done.stdout + done.stderr

    def test_all_well(self):
        status, text = self.run_cases([f"A.Passes{i}" for i in range(20)] + ["A.Skips", "A.DeviceMemoryUse"])
        self.assertEqual(status, 0, text)
        self.assertIn("22 cases", text)
        self.assertIn("{'OK': 21, 'SKIPPED': 1}", text)

    def test_one_that_fails_is_told(self):
        status, text = self.run_cases(["A.Passes", "A.Fails/1"])
        self.assertEqual(status, 1)
        self.assertIn("FAILED scripted_test A.Fails/1", text)
        self.assertIn("'OK': 1", text)

    def test_after_a_crash_the_others_run(self):
        status, text = self.run_cases(["A.Passes1", "A.Crashes", "A.Passes2"])
        self.assertEqual(status, 1)
        self.assertIn("CRASHED scripted_test A.Crashes", text)
        self.assertIn("'OK': 2", text)

    def test_a_program_that_dies_at_its_end_is_told(self):
        status, text = self.run_cases(["A.Passes", "A.DiesAtItsEnd"])
        self.assertEqual(status, 1)
        self.assertIn("UNSOUND scripted_test A.Passes", text)
        self.assertIn("UNSOUND scripted_test A.DiesAtItsEnd", text)

    def test_a_finding_beside_a_failure_is_told(self):
        status, text = self.run_cases(["A.Passes", "A.Fails"], "--under", "sh -c '\"$@\"; exit 4' sh")
        self.assertEqual(status, 1)
        self.assertIn("UNSOUND scripted_test A.Passes", text)
        self.assertIn("FAILED scripted_test A.Fails", text)

    def test_what_a_checker_finds_is_told(self):
        for found, status in ("4", 1), ("0", 0):
            checker = f"sh -c '\"$@\"; exit {found}' sh"
            self.assertEqual(self.run_cases(["A.Passes"], "--under", checker)[0], status)

    def test_what_is_cut_is_missing(self):
        status, text = self.run_cases(["A.Passes", "A.Hangs", "A.Later"], "--seconds", "2", "--jobs", "1")
        self.assertEqual(status, 1)
        self.assertIn("MISSING scripted_test A.Hangs", text)
        self.assertIn("MISSING scripted_test A.Later", text)
        self.assertIn("'OK': 1", text)

    def test_variables_are_set(self):
        for environment, status in (["WHO=me"], 0), (["WHO=you"], 1):
            self.assertEqual(self.run_cases(["A.ByVariable"], environment=environment)[0], status)

    def test_only_some_and_none(self):
        status, text = self.run_cases(["A.Passes", "A.Fails"], "--only", "Passes")
        self.assertEqual(status, 0, text)
        self.assertIn("1 cases", text)
        self.assertEqual(self.run_cases(["A.Passes"], "--only", "Nothing")[0], 1)

    def test_programs_that_are_not_there(self):
        for options in ("--programs", "/nowhere"), ("--under", "no-such-checker --tool x"):
            status, text = self.run_cases(["A.Passes"], *options)
            self.assertEqual(status, 2)
            self.assertIn("is no program", text)

    def test_gpus(self):
        text = self.run_cases(["A.Fails"], "--gpus", "1")[1]
        self.assertIn("gpu 0 of 1", text)
        text = self.run_cases(["A.Fails"], "--spread", "2")[1]
        self.assertIn("gpu any of 2", text)


if __name__ == "__main__":
    unittest.main()
